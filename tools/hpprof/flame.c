#include <stdlib.h>
#include <string.h>

#include "calltree.h"
#include "hpprof.h"
#include "layout.h"
#include "picture.h"
#include "query.h"

enum { WIDTH = 1200, MARGIN = 10, TOP = 62, ROW = 17, BOXES_MAX = 20000, COLOURS = 8 };

/* Of the font at the size it is shown in. */
#define CHARACTER_WIDTH 6.7

static const char help[] =
    "Usage: hpprof flame [OPTIONS] FILE\n"
    "\n"
    "A flame graph as one SVG file, for any browser: a function is a box, as wide as what was\n"
    "allocated in it and in what it called, which stands below it. Click: zoom; Ctrl-F or /: "
    "search.\n"
    "\n"
    "  -o FILE         where to (default: standard output)\n"
    "  --sample TYPE   inuse_space, inuse_objects, alloc_space, alloc_objects, or another of the "
    "file\n"
    "  --focus REGEX   only stacks with a function, source file or binary like this\n"
    "  --ignore REGEX  only stacks without one\n"
    "\n"
    "Example: hpprof flame -o redis.svg hpmalloc.redis-server.4711.1.pb.gz\n";

static const char svg_page[] = {
#include "tools/hpprof/flame.inc"
    '\0'};

struct picture {
    FILE *file;
    const struct calltree *tree;
    const struct layout *layout;
    const struct profile *profile;
    const char *type, *unit;
};

static unsigned colour_of(const char *name)
{
    unsigned hash = 0;
    for (; *name != '\0'; name++)
        hash = hash * 31 + (unsigned char)*name;
    return hash % COLOURS;
}

static void put_value(const struct picture *picture, int64_t value)
{
    char text[UNITS_TEXT_MAX], share[UNITS_TEXT_MAX];
    units_percent(share, value, picture->layout->total);
    fprintf(picture->file, "%s, %s", units_format(text, units_auto(picture->unit, value), value),
            share + strspn(share, " "));
}

static void put_box(const struct picture *picture, const struct box *box)
{
    FILE *file = picture->file;
    const struct call_name *name = &picture->tree->names[picture->tree->calls[box->call].name];
    double scale = WIDTH - 2 * MARGIN, x = MARGIN + box->start * scale, width = box->width * scale;
    unsigned y = TOP + box->depth * ROW;
    fprintf(file, "<g class=\"b c%u\"><title>", colour_of(name->text));
    picture_put_xml(file, name->text, SIZE_MAX);
    fputs(" (", file);
    put_value(picture, box->value);
    fprintf(file, ")</title><rect x=\"%.3f\" y=\"%u\" width=\"%.3f\" height=\"%d\"/>", x, y, width,
            ROW - 1);
    fprintf(file, "<text x=\"%.3f\" y=\"%u\">", x + 3, y + 12);
    if (width >= 3 * CHARACTER_WIDTH)
        picture_put_xml(file, name->text, (size_t)((width - 4) / CHARACTER_WIDTH));
    fputs("</text></g>\n", file);
}

static void put_title(const struct picture *picture)
{
    char time[64];
    picture_put_xml(picture->file, picture_program(picture->profile), 60);
    fputs(": ", picture->file);
    picture_put_xml(picture->file, picture->type, 60);
    fprintf(picture->file, "%s%s", picture->profile->time_ns > 0 ? ", " : "",
            profile_time(picture->profile, time, sizeof(time)));
}

static void put_subtitle(const struct picture *picture)
{
    put_value(picture, picture->layout->total);
    if (picture->layout->left_out != 0)
        fprintf(picture->file, "; %zu of %zu calls, the narrowest, are left out",
                picture->layout->left_out, picture->layout->left_out + picture->layout->count);
}

/* The page up to a mark, which is taken out of it; the rest is returned. */
static const char *put_until(FILE *file, const char *page, const char *mark)
{
    const char *found = strstr(page, mark);
    fwrite(page, 1, (size_t)(found - page), file);
    return found + strlen(mark);
}

static void put_picture(const struct picture *picture)
{
    unsigned height = TOP + (picture->layout->depth + 1) * ROW + MARGIN;
    FILE *file = picture->file;
    fprintf(file,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %u\" width=\"%d\" "
            "height=\"%u\">\n",
            WIDTH, height, WIDTH, height);
    const char *rest = put_until(file, svg_page, "@TITLE@");
    put_title(picture);
    rest = put_until(file, rest, "@HEADING@");
    put_title(picture);
    rest = put_until(file, rest, "@TOTAL@");
    put_subtitle(picture);
    rest = put_until(file, rest, "@BOXES@");
    for (size_t i = 0; i < picture->layout->count; i++)
        put_box(picture, &picture->layout->boxes[i]);
    fputs(rest, file);
}

static int draw(const struct query *query, const struct graph_input *input)
{
    struct calltree tree;
    struct layout layout;
    const struct profile *profile = input->profile;
    struct graph_options options = {.focus = query->has_focus ? &query->focus : NULL,
                                    .ignore = query->has_ignore ? &query->ignore : NULL};
    FILE *file = picture_open(query->output);
    if (file == NULL)
        return STATUS_FAILED;
    calltree_init(&tree);
    uint32_t *innermost = calltree_add(&tree, profile, &options);
    int64_t *values = calltree_sum(&tree, profile, innermost, input->type);
    calltree_accumulate(&tree, values);
    layout_make(&layout, &tree, values, BOXES_MAX);
    struct picture picture = {.file = file,
                              .tree = &tree,
                              .layout = &layout,
                              .profile = profile,
                              .type = profile_text(profile, profile->types[input->type].type),
                              .unit = profile_text(profile, profile->types[input->type].unit)};
    put_picture(&picture);
    layout_free(&layout);
    memory_free(values);
    memory_free(innermost);
    calltree_free(&tree);
    return picture_close(file, query->output);
}

int command_flame(int count, char **arguments)
{
    struct query query;
    struct query_input input;
    int status;
    if (!query_parse(&query, count, arguments, QUERY_SAMPLE | QUERY_FILTER | QUERY_OUTPUT, help,
                     &status))
        return status;
    if (query_needs(&query, 1, 1, "one file", &status) &&
        query_load(&query, query.words[0], NULL, &input, &status)) {
        status = draw(&query, &input.inputs[0]);
        query_close(&input);
    }
    query_free(&query);
    return status;
}
