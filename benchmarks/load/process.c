/* The server's CPU time and memory, and who else used its core, as the kernel counts them. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 64 };

static int pids[PROCESSES_MAX];
static clockid_t clocks[PROCESSES_MAX];
static int n_processes;
static int core = -1; /* the server's, if it has one of its own */

/* Add a process to those whose time and memory are summed. It must be alive until the run is over. */
void process_watch(int pid) {
    if (n_processes == PROCESSES_MAX) fail("at most %d processes can be watched", PROCESSES_MAX);
    if (clock_getcpuclockid(pid, &clocks[n_processes])) fail("there is no process %d to watch", pid);
    pids[n_processes++] = pid;
}

/* Return user and system time of all threads of the watched processes. The CPU-time clock of a process counts
 * nanoseconds, where /proc/PID/stat has only hundredths of a second. */
double process_cpu_seconds(void) {
    double sum = 0;
    for (int i = 0; i < n_processes; i++) {
        struct timespec t;
        if (clock_gettime(clocks[i], &t)) fail("the server (process %d) ended during the run", pids[i]);
        sum += (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    }
    return sum;
}

/* Return the resident memory of the watched processes, in units of 1,024 bytes. */
long process_rss_kb(void) {
    long sum = 0;
    for (int i = 0; i < n_processes; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/status", pids[i]);
        FILE *status = fopen(path, "r");
        if (!status) fail("the server (process %d) ended during the run", pids[i]);
        long kb = 0;
        while (fgets(line, sizeof line, status))
            if (sscanf(line, "VmRSS: %ld", &kb) == 1) break;
        fclose(status);
        sum += kb;
    }
    return sum;
}

/* Say which core the server has for itself, so that `process_core_seconds` can tell whether that is so. */
void process_watch_core(int number) { core = number; }

/* Return for how long the server's core did anything at all, or 0 when it is not known which one that is. */
double process_core_seconds(void) {
    if (core < 0) return 0;
    char name[16], line[512];
    snprintf(name, sizeof name, "cpu%d ", core);
    FILE *stat = fopen("/proc/stat", "r");
    if (!stat) fail("/proc/stat cannot be read");
    unsigned long long user = 0, nice = 0, system = 0, idle, iowait, irq = 0, softirq = 0, steal = 0;
    while (fgets(line, sizeof line, stat))
        if (!strncmp(line, name, strlen(name))) {
            sscanf(line + strlen(name), "%llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                   &iowait, &irq, &softirq, &steal);
            break;
        }
    fclose(stat);
    return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}
