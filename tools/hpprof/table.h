/* Tables of functions, as top prints them, for the commands that show one. */
#ifndef HPPROF_TABLE_H
#define HPPROF_TABLE_H

#include "query.h"

struct graph_options table_options(const struct query *query, long usual_count);

/* Which profile, what of it, and how much of it the table shows. */
void table_put_title(const struct query_input *input, const struct graph *graph);
void table_put_rows(const struct graph *graph);

/* The same as the beginning of a JSON object, which stays open. */
void table_open_json(const struct query_input *input, const struct graph *graph);

#endif
