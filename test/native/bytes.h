/* For the harness: archives as bytes, to be damaged. */
#ifndef PYCDS_BYTES_H
#define PYCDS_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "../../native/include/pycds_format.h"

typedef struct Bytes {
    uint8_t *at;
    size_t size;
} Bytes;

Bytes read_file(const char *path);
/* In place: the harness unmaps an archive before it changes the file, but in the `cut` test. */
void write_file(const char *path, Bytes bytes);

PycdsFileHeader *header_of(Bytes file);
PycdsSection *sections_of(Bytes file);
/* NULL: there is none. */
PycdsSection *section_of(Bytes file, uint32_t kind);
/* Its digest is checked at start. */
int is_eager(uint32_t kind);

/* Makes the digests of header and sections right, as far as the damaged header lets us find what they are of. */
void reseal(Bytes file);

#endif
