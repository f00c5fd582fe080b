/*
 * Memory for an image's objects, which live as long as the process: taken piece
 * by piece, one behind the other, never given back. No Python; under imports_lock().
 *
 * Relocation writes nearly every page of every unit (decision 29), so what is
 * imported is read into memory of its own, in huge pages where there are any: one
 * fault, and one allocation, for 2 MiB instead of 512 (decision 68).
 */
#ifndef PYCDS_PAGES_H
#define PYCDS_PAGES_H

#include <stdint.h>

/*
 * `size` bytes at a multiple of PYCDS_UNIT_ALIGNMENT. `base`: near which address the first ones are to lie;
 * `expected`: how many more will probably be asked for after these, which decides what is worth a huge page.
 * NULL: no memory (RLIMIT_AS, RLIMIT_MEMLOCK, vm.overcommit_memory).
 */
uint8_t *pages_take(uint64_t base, uint64_t size, uint64_t expected);
/* Enough huge pages are free for a fault to find one (/proc/buddyinfo). */
int pages_huge_are_plenty(void);
/* Undoes the last pages_take, whose bytes turned out to be of no use. */
void pages_untake(uint8_t *piece);

#endif
