/* Reads a record (prof/record_layout) into the profiler's own tables, as if this process had taken
 * its samples: from there on what makes a profile of a running process makes one of it.
 *
 * Nothing in the file is believed: every offset, count and number is checked, and one that cannot
 * be ends the reading with a line.
 *
 * Of a process that runs on meanwhile, the samples that come and go just then may be in or out.
 * Fails: STATUS_FAILED, with one line said. */
#ifndef HPPROF_RECORD_READER_H
#define HPPROF_RECORD_READER_H

#include "hpprof.h"
#include "prof/mappings.h"
#include "prof/record_layout.h"

struct record_reader {
    const char *path;
    char *bytes; // the file, copied
    size_t size;
    const struct record_header *header;
    struct record_entry *sites; // by their place in the file
    size_t site_count;
    struct mapping_list mappings;
    double total_bytes; // of everything that is added up anywhere
};

int record_reader_load(struct record_reader *reader, const char *path);
void record_reader_free(struct record_reader *reader);

#endif
