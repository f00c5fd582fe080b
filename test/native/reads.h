/* For the harness: reading of units (read.c) and where they are read to (pages.c). */
#ifndef READS_H
#define READS_H

/* Asks for units by number: how many were read with each, and how many bytes in one go. */
void reads_steps(char **arguments, int count);
/* Loads every unit while reads are `unknown` (no preadv2), `short`, `interrupted`, `failing` (the first one). */
void reads_load(const char *path, const char *how);
/* Loads one unit, has the name `renamed` over or `unlinked`, loads the others. */
void reads_replaced(const char *path, const char *scratch, const char *how);
/* A unit for which there is no memory (RLIMIT_AS), and again when there is. */
void reads_limit(const char *path);
/* Takes memory under one condition, see the code: `near=0|1 joined=0|1 asked=CALLS huge=KIB rss=KIB` of 1 MiB at first and 4 MiB then. */
void reads_memory(const char *how);

#endif
