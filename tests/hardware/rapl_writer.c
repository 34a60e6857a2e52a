// Writes energy_uj files at a known power, as RAPL would count. Built and run by with_fake_hw.sh beside it.
//
// usage: rapl_writer DIR PACKAGE_W CORE_W DRAM_W PERIOD_US START_UJ RANGE_UJ
// The counter is START + power x (CLOCK_MONOTONIC - t0), refreshed each PERIOD_US, and wraps at RANGE as the kernel's
// does. DIR/../t0 holds t0, the watts, START, RANGE and the process id, so that a test can compute the truth.
// SIGUSR1 freezes the counters and lets them go again (stuck sensor); SIGUSR2 restarts them from 0 (reset).
// Values have a fixed width, so a reader never sees a short number.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { ZONES = 3 };
static volatile sig_atomic_t frozen = 0, reset = 0, stopped = 0;
static void on_freeze(int s) { (void)s; frozen = !frozen; }
static void on_reset(int s) { (void)s; reset = 1; }
static void on_stop(int s) { (void)s; stopped = 1; }
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }

int main(int count, char **args) {
  if (count < 8) { fprintf(stderr, "usage: rapl_writer DIR PACKAGE_W CORE_W DRAM_W PERIOD_US START_UJ RANGE_UJ\n"); return 2; }
  const char *zone[ZONES] = {"intel-rapl:0", "intel-rapl:0/intel-rapl:0:0", "intel-rapl:0/intel-rapl:0:1"};
  double watts[ZONES] = {atof(args[2]), atof(args[3]), atof(args[4])};
  long period_us = atol(args[5]);
  double start = atof(args[6]), range = atof(args[7]), t0 = now();
  char text[4096];
  int descriptor[ZONES];
  for (int i = 0; i < ZONES; i++) {
    snprintf(text, sizeof text, "%s/intel-rapl/%s/energy_uj", args[1], zone[i]);
    descriptor[i] = open(text, O_WRONLY | O_CREAT, 0644);
    if (descriptor[i] < 0) { perror(text); return 1; }
  }
  snprintf(text, sizeof text, "%s/../t0", args[1]);
  FILE *f = fopen(text, "w");
  if (f) {
    fprintf(f, "%.9f %.3f %.3f %.3f %.0f %.0f %d\n", t0, watts[0], watts[1], watts[2], start, range, getpid());
    fclose(f);
  }
  signal(SIGUSR1, on_freeze); signal(SIGUSR2, on_reset); signal(SIGTERM, on_stop); signal(SIGINT, on_stop);
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // never outlive the script, however it ends

  int width = snprintf(text, sizeof text, "%.0f", range);
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  while (!stopped) {
    if (reset) { reset = 0; t0 = now(); start = 0; }
    for (int i = 0; i < ZONES && !frozen; i++) {
      double value = start + watts[i] * (now() - t0) * 1e6;
      value -= range * (long long)(value / range);
      int length = snprintf(text, sizeof text, "%0*.0f\n", width, value);
      if (pwrite(descriptor[i], text, length, 0) < 0) return 1;
    }
    next.tv_nsec += period_us * 1000L;
    while (next.tv_nsec >= 1000000000L) { next.tv_nsec -= 1000000000L; next.tv_sec++; }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR && !stopped) {}
  }
  return 0;
}
