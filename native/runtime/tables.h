/* Between archive.c and tables.c: the checks of an archive's tables. */
#ifndef PYCDS_TABLES_H
#define PYCDS_TABLES_H

#include "runtime.h"

/* Writes a reason; always -1, so that `return refuse(…)` reads well. */
int refuse(char why[PYCDS_WHY], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Points the archive at its sections, each inside the file, in order and of whole structs. Sets map_size, data_size; data is not mapped yet. */
int tables_locate(Archive *archive, char why[PYCDS_WHY]);
/* Where DATA is in the file. */
const PycdsSection *tables_data(const Archive *archive);
/* Digests of the sections that are checked at start. */
int tables_digest(const Archive *archive, char why[PYCDS_WHY]);
/* Where the last section ends that is read at start. */
uint64_t tables_end(const Archive *archive);
/* Every index, offset and string reference of every table but of entries and names. */
int tables_check(const Archive *archive, char why[PYCDS_WHY]);

/* The references of one entry, before anything else of it is used. */
int tables_entry_ok(const Archive *archive, uint32_t index);
/* A name that `block` holds lies inside of it, or is a Latin-1 character. */
int tables_name_ok(const Archive *archive, uint32_t index, const PycdsNameBlock *block);

#endif
