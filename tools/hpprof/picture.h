/* What pictures are written to, and how names nobody vouches for become part of them. */
#ifndef HPPROF_PICTURE_H
#define HPPROF_PICTURE_H

#include <stdio.h>

#include "model.h"

/* The file, stdout where it is NULL or "-". NULL: one line said why. */
FILE *picture_open(const char *output);

/* The status; a file (not a device) that could not be written as a whole is removed. */
int picture_close(FILE *file, const char *output);

/* As text of XML and HTML, or as a string of JSON in a page; at most so many characters, of which
 * the last two are dots where it is longer. */
void picture_put_xml(FILE *file, const char *text, size_t most);
void picture_put_json(FILE *file, const char *text);

size_t picture_characters(const char *text);

/* What a picture is named after: the program, or else the file. */
const char *picture_program(const struct profile *profile);

#endif
