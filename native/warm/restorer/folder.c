/* The names in a folder. */
#include <sys/syscall.h>

#include "restorer.h"

bool ends_with(const char *name, size_t length, const char *end) {
    size_t size = text_length(end);
    return length >= size && memcmp(name + length - size, end, size) == 0;
}

/* struct linux_dirent64 (include/linux/dirent.h): ino, off (8 bytes each), reclen (2), type (1), name */
enum { RECORD_SIZE = 16, RECORD_TYPE = 18, RECORD_NAME = 19 };

int each_entry(long folder, unsigned char *buffer, size_t size, EntryVisit *visit, void *state) {
    long got;
    while ((got = kernel(SYS_getdents64, folder, buffer, size, 0, 0)) > 0) {
        for (long at = 0; at < got;) {
            uint16_t record;
            memcpy(&record, buffer + at + RECORD_SIZE, sizeof record);
            const char *name = (const char *)buffer + at + RECORD_NAME;
            if (visit(name, text_length(name), buffer[at + RECORD_TYPE], state)) return 1;
            at += record;
        }
    }
    return got == 0 ? 0 : -1;
}
