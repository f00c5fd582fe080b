/* Where the folders of an archive lie in this process. No Python objects; the callers hold the GIL. */
#ifndef PYCDS_PLACES_H
#define PYCDS_PLACES_H

#include "runtime.h"

/*
 * Of a relocatable archive: finds out whether its tree moved. `prefix`, `base_prefix`: what sys has,
 * NULL where that cannot be told. 0, or -1 (no memory, or paths too long): then it counts as unmoved.
 */
int places_find(Archive *archive, const char *prefix, const char *base_prefix);
/* Where the root of that name lies in this process, without slashes at its end; 0, or -1: there is none, or its path is too long. */
int place_root(const Archive *archive, const char *name, char *buffer, size_t size, size_t *length);
/* The folder's path in this process, NUL-terminated; lives as long as the archive. */
const char *place_path(const Archive *archive, uint32_t folder, size_t *length);
/* Index of the folder that `path` is, in an archive that moved; PYCDS_NONE: unknown, or it stands for another one already. */
uint32_t place_folder(Archive *archive, uint64_t hash, const char *path, size_t length);
/* From now on the folder lies at `path`. 0; -1 when it stands for another one already, or without memory. */
int place_bind(Archive *archive, uint32_t folder, const char *path, size_t length);
/* The folder `child` lies at `tail` in `folder`. 0, or -1 as place_bind. */
int place_child(Archive *archive, uint32_t folder, uint32_t child, const char *tail, size_t length);

#endif
