#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "model.h"
#include "style.h"

enum { SCRIPTS_MAX = 4 };

static const char help[] =
    "Usage: hpprof doctor [OPTIONS] PID\n"
    "       hpprof doctor [OPTIONS] [--] PROGRAM [ARGUMENTS]\n"
    "\n"
    "Says why a process gives no profile or poor stacks, each reason with what to do. It looks "
    "from\n"
    "outside and changes nothing. Of a PROGRAM that does not run yet it says what would stand in\n"
    "the way of hpprof run, here and with this environment; it does not run it.\n"
    "\n"
    "  --dump          also asks the process for a profile, and judges its stacks\n"
    "  --profile FILE  judges the stacks of a profile that there is\n"
    "  --library PATH  with a PROGRAM: the library (default: the one that came with hpprof)\n"
    "  --json          for scripts\n"
    "\n"
    "A handler that the program set for the signal cannot be told from the library's from "
    "outside:\n"
    "--dump tries. Exit status: 0 nothing is wrong, 1 something is, or it could not be looked at,\n"
    "2 called wrongly.\n"
    "\n"
    "Example: hpprof doctor $(pidof redis-server)\n";

struct choices {
    bool wants_dump, wants_json;
    const char *profile, *library;
    char **words;
    int word_count;
    bool is_program; // behind --
};

static bool is_number(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static bool take_value(const char *name, int count, char **arguments, int *at, const char **value)
{
    size_t length = strlen(name);
    const char *argument = arguments[*at];
    if (strncmp(argument, name, length) != 0 ||
        (argument[length] != '\0' && argument[length] != '='))
        return false;
    *value = argument[length] == '=' ? argument + length + 1
             : *at + 1 < count       ? arguments[++*at]
                                     : "";
    return true;
}

static int take_arguments(int count, char **arguments, struct choices *choices)
{
    int at = 1;
    for (; at < count && arguments[at][0] == '-' && !choices->is_program; at++) {
        if (strcmp(arguments[at], "--") == 0)
            choices->is_program = true;
        else if (strcmp(arguments[at], "--dump") == 0)
            choices->wants_dump = true;
        else if (strcmp(arguments[at], "--json") == 0)
            choices->wants_json = true;
        else if (!take_value("--profile", count, arguments, &at, &choices->profile) &&
                 !take_value("--library", count, arguments, &at, &choices->library))
            return misused("doctor: there is no option '%s'", arguments[at]);
    }
    choices->words = arguments + at;
    choices->word_count = count - at;
    if (choices->word_count == 0)
        return misused("doctor: takes a process id, or a program");
    choices->is_program |= !is_number(choices->words[0]);
    if (!choices->is_program && choices->word_count > 1)
        return misused("doctor: takes one process id");
    if (choices->is_program && choices->wants_dump)
        return misused("doctor: --dump takes a process that runs");
    if ((choices->profile != NULL && *choices->profile == '\0') ||
        (choices->library != NULL && *choices->library == '\0'))
        return misused("doctor: --profile and --library need a path");
    return STATUS_DONE;
}

/* As execvp(3) finds it. */
static bool find_program(const char *name, char path[PATH_MAX])
{
    const char *folders = getenv("PATH");
    struct stat status;
    if (strchr(name, '/') != NULL)
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && access(path, X_OK) == 0;
    for (const char *at = folders != NULL ? folders : "/usr/bin:/bin"; *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (snprintf(path, PATH_MAX, "%.*s/%s", (int)length, at, name) < PATH_MAX &&
            access(path, X_OK) == 0 && stat(path, &status) == 0 && S_ISREG(status.st_mode))
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

/* What runs a script is what the library is in. False: it is none. */
static bool follow_script(char path[PATH_MAX])
{
    char line[PATH_MAX] = "";
    FILE *file = fopen(path, "re");
    bool is_script =
        file != NULL && fgets(line, sizeof(line), file) != NULL && strncmp(line, "#!", 2) == 0;
    if (file != NULL)
        fclose(file);
    char *word = line + 2 + strspn(line + 2, " \t"), *rest = word + strcspn(word, " \t\n");
    if (!is_script || *word == '\0')
        return false;
    bool has_argument = *rest == ' ' || *rest == '\t';
    *rest = '\0';
    if (has_argument && strcmp(profile_base_name(word), "env") == 0) {
        char *program = rest + 1 + strspn(rest + 1, " \t");
        program[strcspn(program, " \t\n")] = '\0';
        return find_program(program, path);
    }
    return snprintf(path, PATH_MAX, "%s", word) < PATH_MAX;
}

static int open_program(struct doctor *doctor, const char *name)
{
    doctor->is_planned = true;
    doctor->asked = name;
    doctor->maps = "";
    if (!find_program(name, doctor->path))
        return failed("%s: there is no such program that could be run", name);
    for (int i = 0; i < SCRIPTS_MAX && follow_script(doctor->path); i++)
        doctor->is_script = true;
    /* The name of a script's interpreter is what its options are held against. */
    doctor->program = doctor_text(doctor, "%s", profile_base_name(doctor->path));
    binary_read(&doctor->binary, doctor->path);
    if (doctor->binary.kind == BINARY_NONE)
        return failed("%s: it is no program", doctor->path);
    return process_look(&doctor->process, getpid());
}

/* What shows a title of its own begins it with its name, with or without the folder, and may go on
 * with other paths: "nginx: master", "/usr/bin/redis-server unixsocket:/run/s". */
static bool is_title_of(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = text; length != 0 && (at = strstr(at, name)) != NULL; at++)
        if ((at == text || at[-1] == '/') && at[length] != '\0' && strchr(" :", at[length]) != NULL)
            return true;
    return false;
}

/* By its arguments, as the C library makes program_invocation_short_name. */
static const char *name_of(struct doctor *doctor)
{
    const char *status = doctor_status(doctor, "Name");
    const char *known = doctor_text(doctor, "%.*s", (int)strcspn(status, "\n"), status);
    char *text = process_read(doctor->process.pid, "cmdline");
    const char *name = text != NULL ? profile_base_name(text) : "";
    bool is_known = *name == '\0' || is_title_of(text, known);
    name = is_known ? known : doctor_text(doctor, "%s", name);
    free(text);
    return name;
}

/* Another user's, or one that gave up being looked at. */
static void explain_refusal(struct doctor *doctor)
{
    char *end;
    const char *line = doctor_status(doctor, "Uid");
    unsigned long real = strtoul(line, &end, 10), effective = strtoul(end, NULL, 10);
    if (real != effective)
        doctor_find(doctor, "secure-execution", "run it without these rights for a profile",
                    "it runs with raised privileges (setuid), so the loader ignores LD_PRELOAD");
    else if (geteuid() == 0)
        doctor_find(doctor, "not-permitted", "ask from outside of this container",
                    "not even root may look at it from here (CAP_SYS_PTRACE, user namespaces)");
    else if (effective != geteuid())
        doctor_find(doctor, "not-permitted",
                    doctor_text(doctor, "ask as that user, or as root: sudo hpprof doctor %ld",
                                (long)doctor->process.pid),
                    "it belongs to user %lu: neither its memory nor its environment can be seen, "
                    "and it takes no signal from here",
                    effective);
    else
        doctor_find(
            doctor, "not-permitted",
            doctor_text(doctor, "ask as root: sudo hpprof doctor %ld", (long)doctor->process.pid),
            "the kernel shows it to root only: it has changed its user or capabilities, "
            "its file cannot be read, or it is not dumpable (prctl)");
}

static int open_process(struct doctor *doctor, const char *text)
{
    char *end, *status;
    errno = 0;
    long pid = strtol(text, &end, 10);
    if (errno != 0 || pid <= 0 || pid > INT_MAX)
        return misused("doctor: '%s' is no process id", text);
    doctor->process.pid = (pid_t)pid;
    status = process_read((pid_t)pid, "status");
    if (status == NULL)
        return failed("there is no process %ld", pid);
    free(status);
    snprintf(doctor->path, sizeof(doctor->path), "/proc/%ld/exe", pid);
    return STATUS_DONE;
}

static char *keep(struct doctor *doctor, char *text)
{
    char *copy = text != NULL ? (char *)doctor_text(doctor, "%s", text) : NULL;
    free(text);
    return copy;
}

/* False: the kernel does not show it. */
static bool look(struct doctor *doctor)
{
    pid_t pid = doctor->process.pid;
    doctor->maps = keep(doctor, process_read(pid, "maps"));
    if (doctor->maps == NULL || access(doctor->path, R_OK) != 0) {
        bool is_kernel = doctor->maps != NULL && *doctor->maps == '\0' && geteuid() == 0;
        if (is_kernel)
            doctor_find(doctor, "kernel-thread", "there is nothing to do",
                        "it is a thread of the kernel's, or has ended");
        else
            explain_refusal(doctor);
        return false;
    }
    binary_read(&doctor->binary, doctor->path);
    return process_look(&doctor->process, pid) == STATUS_DONE;
}

static bool is_served(const struct doctor *doctor)
{
    uint64_t unused;
    return process_option(&doctor->process, OPTION_HTTP, &unused) != NULL;
}

/* Where a profile comes from, when all is well. */
static const char *next_step(struct doctor *doctor)
{
    uint64_t number = 0, unused;
    if (doctor->is_planned)
        return doctor_text(doctor, "hpprof run -- %s", doctor->asked);
    process_option(&doctor->process, OPTION_DUMP_SIGNAL, &number);
    if (number != 0)
        return doctor_text(doctor, "hpprof dump %ld", (long)doctor->process.pid);
    const char *address = process_option(&doctor->process, OPTION_HTTP, &unused);
    if (is_served(doctor) && strncmp(address, "unix:", 5) != 0)
        return doctor_text(doctor, "go tool pprof http://%s/debug/pprof/heap", address);
    if (is_served(doctor))
        return doctor_text(doctor,
                           "curl --unix-socket %s http://localhost/debug/pprof/heap -o heap.pb.gz",
                           address + 5);
    return "wait for the dumps that its options ask for";
}

static int examine(struct doctor *doctor, const struct choices *choices)
{
    doctor->has_options = true;
    doctor->library = choices->library;
    if ((doctor->is_planned || look(doctor)) && doctor_loading(doctor)) {
        doctor_allocators(doctor);
        doctor_options(doctor);
        doctor_signals(doctor);
        doctor_folder(doctor);
        doctor_http(doctor);
        doctor_stacks(doctor);
    }
    const char *path = choices->profile;
    bool can_ask =
        doctor->library != NULL && doctor->finding_count == doctor_has(doctor, "seccomp");
    if (path == NULL && choices->wants_dump && can_ask)
        path = doctor_ask(doctor);
    return path == NULL || doctor_profile(doctor, path) ? STATUS_DONE : STATUS_FAILED;
}

static void put_lines(const struct doctor *doctor, bool are_notes)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];
        if (finding->is_note != are_notes)
            continue;
        printf("%s%s%s%s: %s; %s\n", finding->is_note ? "note: " : "",
               style_text(finding->is_note ? STYLE_DIM : STYLE_YELLOW), finding->code,
               style_text(STYLE_PLAIN), finding->what, finding->remedy);
    }
}

static void put_text(struct doctor *doctor)
{
    if (doctor->is_script)
        printf("%s, a script that %s runs", doctor->asked, doctor->path);
    else if (doctor->is_planned)
        printf("%s", doctor->path);
    else
        printf("process %ld (%s)", (long)doctor->process.pid, doctor->program);
    if (doctor->finding_count == 0)
        printf(": %snothing is wrong%s; for a profile: %s\n", style_text(STYLE_GREEN),
               style_text(STYLE_PLAIN), next_step(doctor));
    else
        printf(": %zu found\n", doctor->finding_count);
    put_lines(doctor, false);
    put_lines(doctor, true);
}
static void put_json_list(const struct doctor *doctor, const char *key, bool are_notes)
{
    json_open(key, '[');
    for (size_t i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];
        if (finding->is_note != are_notes)
            continue;
        json_open(NULL, '{');
        json_text("code", finding->code);
        json_text("what", finding->what);
        json_text("remedy", finding->remedy);
        json_close('}');
    }
    json_close(']');
}

static void put_json(struct doctor *doctor)
{
    json_open(NULL, '{');
    if (!doctor->is_planned)
        json_number("pid", (int64_t)doctor->process.pid);
    json_text("program", doctor->program);
    if (doctor->library != NULL)
        json_text("library", doctor->library);
    put_json_list(doctor, "findings", false);
    put_json_list(doctor, "notes", true);
    if (doctor->finding_count == 0)
        json_text("next", next_step(doctor));
    json_close('}');
}

static int doctor_run(struct doctor *doctor, const struct choices *choices)
{
    int status = choices->is_program ? open_program(doctor, choices->words[0])
                                     : open_process(doctor, choices->words[0]);
    if (status != STATUS_DONE)
        return status;
    doctor->status =
        keep(doctor, process_read(doctor->is_planned ? getpid() : doctor->process.pid, "status"));
    if (doctor->status == NULL)
        return failed("process %ld has ended", (long)doctor->process.pid);
    if (!doctor->is_planned)
        doctor->program = name_of(doctor);
    status = examine(doctor, choices);
    if (choices->wants_json)
        put_json(doctor);
    else
        put_text(doctor);
    return doctor->finding_count != 0 ? STATUS_FAILED : status;
}

int command_doctor(int count, char **arguments)
{
    struct doctor doctor = {.maps = ""};
    struct choices choices = {0};
    for (int i = 1; i < count && strcmp(arguments[i], "--") != 0; i++) {
        if (is_help(arguments[i]))
            return fputs(help, stdout) >= 0 ? STATUS_DONE : STATUS_FAILED;
        if (arguments[i][0] != '-')
            break;
    }
    int status = take_arguments(count, arguments, &choices);
    if (status == STATUS_DONE)
        status = doctor_run(&doctor, &choices);
    process_close(&doctor.process);
    memory_free(doctor.findings);
    pool_drain(&doctor.pool);
    return status;
}
