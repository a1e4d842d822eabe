#define _GNU_SOURCE
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char our_name[] = "hpprof: ";

/* The terminal's signals are for who waits. */
static void become_child(int output, pid_t parent)
{
    static const int defaults[] = {SIGTERM, SIGHUP, SIGWINCH, SIGCONT, SIGCHLD};
    static const int ignored[] = {SIGINT, SIGQUIT, SIGTSTP};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    for (size_t i = 0; i < sizeof(defaults) / sizeof(*defaults); i++)
        signal(defaults[i], SIG_DFL);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
        signal(ignored[i], SIG_IGN);
    dup2(output, STDERR_FILENO);
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
}

bool background_start(struct background *background, int (*work)(const void *argument),
                      const void *argument)
{
    int ends[2];
    pid_t parent = getpid();
    *background = (struct background){.child = 0};
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        become_child(ends[1], parent);
        int status = work(argument);
        fflush(NULL);
        _exit(status);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return false;
    }
    background->child = child;
    background->fd = ends[0];
    return true;
}

static int finish(struct background *background)
{
    int status;
    close(background->fd);
    while (waitpid(background->child, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    background->child = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void keep_last_line(struct background *background)
{
    char *said = background->said;
    size_t length = background->said_bytes;
    if (length > 0 && said[length - 1] == '\n')
        length--;
    said[length] = '\0';
    const char *end = strrchr(said, '\n'), *line = end != NULL ? end + 1 : said;
    if (strncmp(line, our_name, sizeof(our_name) - 1) == 0)
        line += sizeof(our_name) - 1;
    memmove(said, line, strlen(line) + 1);
}

/* What there is no room for is read and forgotten. */
bool background_step(struct background *background, int *status)
{
    char spare[256];
    size_t room = sizeof(background->said) - 1 - background->said_bytes;
    char *target = room > 0 ? background->said + background->said_bytes : spare;
    ssize_t count = read(background->fd, target, room > 0 ? room : sizeof(spare));
    if (count > 0) {
        background->said_bytes += room > 0 ? (size_t)count : 0;
        return false;
    }
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    *status = finish(background);
    keep_last_line(background);
    return true;
}

void background_kill(struct background *background)
{
    if (background->child == 0)
        return;
    kill(background->child, SIGKILL);
    finish(background);
}
