/* For the harness: damage made by chance, the same for the same seed. */
#ifndef PYCDS_DAMAGE_H
#define PYCDS_DAMAGE_H

#include <stdint.h>

void damage_seed(uint64_t seed);

/*
 * To anything that is read at start, all digests right again, `count` times: archives that still
 * open are walked and loaded. Prints how many opened, what became of units, in how many archives
 * entries or names were refused, and how many lookups found a file.
 */
void damage_tables(const char *path, const char *scratch, uint64_t count);
/* To one unit's relocations and objects, digests right. */
void damage_units(const char *path, const char *scratch, uint64_t count);
/* One bit in each byte that a digest or a check covers at start: prints what is not refused. */
void damage_flip(const char *path, const char *scratch);

#endif
