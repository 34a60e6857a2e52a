// A libnvidia-ml.so.1 whose power is known, for the unchanged nvidia-ml-py. Built by fake_nvml.py beside it.
//
// All processes see the same counter: energy = power x CLOCK_MONOTONIC, so the truth needs no record of its own.
// A process may stop time for itself with fake_nvml_set_clock(seconds); its wall clock is then 1.7e9 more.
// Environment, read at each call, so a process may change it as it goes:
//   FAKE_NVML_DEVICES=1            number of boards; 0 is allowed
//   FAKE_NVML_POWER_W=300          watts, or a list by board "300,100" (the last one repeats)
//   FAKE_NVML_SQUARE="50,400,0.2"  square wave in place of it: low, high, period in seconds
//   FAKE_NVML_UPDATE_MS=0          refresh of the energy counter; 0 is continuous, real boards 20 to 100
//   FAKE_NVML_POWER_UPDATE_MS=0    refresh of the power reading
//   FAKE_NVML_ENERGY_FACTOR=1      the energy counter is wrong by this factor; 0 is a counter stuck at 0
//   FAKE_NVML_NO_ENERGY=1          no energy counter, as before Volta
//   FAKE_NVML_NO_POWER=1           no power reading at all
//   FAKE_NVML_NO_FIELDS=1          no POWER_INSTANT field, as on older drivers
//   FAKE_NVML_SAMPLES_MS=20        the driver buffers a power sample that often (120 of them); unset: not supported
//   FAKE_NVML_MIG=1                MIG mode is on
//   FAKE_NVML_INIT=9               nvmlInit fails with this code (9 driver not loaded, 18 version mismatch)
//   FAKE_NVML_HIDDEN=1             NO_PERMISSION for the handle of the boards from this index on
//   FAKE_NVML_LOST_FILE=/path      GPU_IS_LOST while the file exists; an integer in it names one board
//   FAKE_NVML_RESET_FILE=/path     holds a CLOCK_MONOTONIC second: the energy counter restarts from 0 there
//   FAKE_NVML_CALL_US=0            busy time of each call, as the driver costs
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int R;
typedef void *D;
typedef unsigned long long u64;
enum { OK = 0, UNINIT = 1, INVAL = 2, NOSUP = 3, NOPERM = 4, NOTFOUND = 6, LOST = 15 };

static int references = 0;
int fake_nvml_references(void) { return references; }  // nvmlInit minus nvmlShutdown, for tests of balance

static double clock_seconds(clockid_t id) { struct timespec t; clock_gettime(id, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static double stopped = -1;
void fake_nvml_set_clock(double seconds) { stopped = seconds; }
static double now(void) { return stopped < 0 ? clock_seconds(CLOCK_MONOTONIC) : stopped; }
static double unix_seconds(void) { return stopped < 0 ? clock_seconds(CLOCK_REALTIME) : 1.7e9 + stopped; }
static double number(const char *name, double otherwise) { const char *s = getenv(name); return s && *s ? atof(s) : otherwise; }
static int devices(void) { return (int)number("FAKE_NVML_DEVICES", 1); }
static int index_of(D d) { return (int)((long)d - 1); }
static double floor_to(double t, const char *name) { double u = number(name, 0) / 1e3; return u > 0 ? floor(t / u) * u : t; }

static void cost(void) {
  double us = number("FAKE_NVML_CALL_US", 0);
  if (us > 0 && stopped < 0) { double end = now() + us * 1e-6; while (now() < end) {} }
}

static int is_lost(int i) {
  const char *path = getenv("FAKE_NVML_LOST_FILE");
  FILE *f = path ? fopen(path, "r") : NULL;
  if (!f) return 0;
  int which, named = fscanf(f, "%d", &which) == 1;
  fclose(f);
  return !named || which == i;
}

static R check(D d) {
  cost();
  if (references < 1) return UNINIT;
  int i = index_of(d);
  if (i < 0 || i >= devices()) return INVAL;
  return is_lost(i) ? LOST : OK;
}

static double constant_watts(int board) {
  const char *s = getenv("FAKE_NVML_POWER_W");
  double watts = s && *s ? atof(s) : 300;
  for (int i = 0; i < board && s && (s = strchr(s, ',')); i++) watts = atof(++s);
  return watts;
}

static int square(double *low, double *high, double *period) {
  const char *s = getenv("FAKE_NVML_SQUARE");
  return s && sscanf(s, "%lf,%lf,%lf", low, high, period) == 3;
}

static double watts(int board, double t) {
  double a, b, p;
  if (square(&a, &b, &p)) return fmod(t, p) < p / 2 ? a : b;
  return constant_watts(board);
}

static double joules(int board, double t) {
  double a, b, p;
  if (square(&a, &b, &p)) {
    double n = floor(t / p), r = t - n * p;
    return n * p * (a + b) / 2 + (r < p / 2 ? a * r : a * p / 2 + b * (r - p / 2));
  }
  return t * constant_watts(board);
}

R nvmlInit_v2(void) { int code = (int)number("FAKE_NVML_INIT", 0); if (!code) references++; return code; }
R nvmlInit(void) { return nvmlInit_v2(); }
R nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
R nvmlShutdown(void) { if (references < 1) return UNINIT; references--; return OK; }

const char *nvmlErrorString(R r) {
  return r == OK ? "Success" : r == NOSUP ? "Not Supported" : r == LOST ? "GPU is lost" : "Fake error";
}
R nvmlSystemGetDriverVersion(char *b, unsigned n) { snprintf(b, n, "570.00.fake"); return OK; }
R nvmlSystemGetNVMLVersion(char *b, unsigned n) { snprintf(b, n, "12.570.fake"); return OK; }
R nvmlSystemGetCudaDriverVersion(int *v) { *v = 12080; return OK; }
R nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12080; return OK; }

R nvmlDeviceGetCount_v2(unsigned *n) { if (references < 1) return UNINIT; *n = devices(); return OK; }
R nvmlDeviceGetCount(unsigned *n) { return nvmlDeviceGetCount_v2(n); }
R nvmlDeviceGetHandleByIndex_v2(unsigned i, D *d) {
  if (references < 1) return UNINIT;
  if ((int)i >= devices()) return INVAL;
  if ((int)i >= (int)number("FAKE_NVML_HIDDEN", 1e6)) return NOPERM;
  *d = (D)(long)(i + 1);
  return OK;
}
R nvmlDeviceGetHandleByIndex(unsigned i, D *d) { return nvmlDeviceGetHandleByIndex_v2(i, d); }
R nvmlDeviceGetHandleByUUID(const char *u, D *d) {
  if (references < 1) return UNINIT;
  int i = -1;
  sscanf(u, "GPU-fa4e0000-0000-0000-0000-%x", &i);
  if (i < 0 || i >= devices()) return NOTFOUND;
  *d = (D)(long)(i + 1);
  return OK;
}
R nvmlDeviceGetIndex(D d, unsigned *i) { *i = index_of(d); return OK; }
R nvmlDeviceGetName(D d, char *b, unsigned n) { R r = check(d); if (!r) snprintf(b, n, "NVIDIA FAKE-H100 80GB"); return r; }
R nvmlDeviceGetUUID(D d, char *b, unsigned n) {
  R r = check(d);
  if (!r) snprintf(b, n, "GPU-fa4e0000-0000-0000-0000-%012x", index_of(d));
  return r;
}
R nvmlDeviceGetSerial(D d, char *b, unsigned n) { snprintf(b, n, "0000%d", index_of(d)); return OK; }
R nvmlDeviceGetArchitecture(D d, unsigned *a) { R r = check(d); if (!r) *a = number("FAKE_NVML_NO_ENERGY", 0) ? 4 : 9; return r; }
R nvmlDeviceGetCudaComputeCapability(D d, int *a, int *b) { (void)d; *a = 9; *b = 0; return OK; }

R nvmlDeviceGetTotalEnergyConsumption(D d, u64 *e) {
  R r = check(d);
  if (r) return r;
  if (number("FAKE_NVML_NO_ENERGY", 0)) return NOSUP;
  int board = index_of(d);
  double t = floor_to(now(), "FAKE_NVML_UPDATE_MS"), base = 0, at;
  const char *path = getenv("FAKE_NVML_RESET_FILE");
  FILE *f = path ? fopen(path, "r") : NULL;
  if (f) {
    if (fscanf(f, "%lf", &at) == 1 && t > at) base = joules(board, at);
    fclose(f);
  }
  *e = (u64)((joules(board, t) - base) * 1000.0 * number("FAKE_NVML_ENERGY_FACTOR", 1));
  return OK;
}

R nvmlDeviceGetPowerUsage(D d, unsigned *p) {
  R r = check(d);
  if (r) return r;
  if (number("FAKE_NVML_NO_POWER", 0)) return NOSUP;
  *p = (unsigned)(watts(index_of(d), floor_to(now(), "FAKE_NVML_POWER_UPDATE_MS")) * 1000);
  return OK;
}

// The types of nvml.h: nvmlValue_t, nvmlSample_t, nvmlFieldValue_t.
typedef union { double d; unsigned u; unsigned long ul; u64 ull; long long s; } V;
typedef struct { u64 stamp; V v; } S;
typedef struct { unsigned field, scope; long long stamp, latency; unsigned type; R ret; V v; } F;
enum { TYPE_UINT = 1, TYPE_ULL = 3, BUFFER = 120 };

// Fields: 83 TOTAL_ENERGY_CONSUMPTION (mJ), 185 POWER_AVERAGE and 186 POWER_INSTANT (mW).
R nvmlDeviceGetFieldValues(D d, int n, F *f) {
  R r = check(d);
  if (r) return r;
  for (int i = 0; i < n; i++) {
    f[i].stamp = (long long)(unix_seconds() * 1e6);
    f[i].latency = 0;
    f[i].ret = NOSUP;
    if (f[i].field == 83) { f[i].type = TYPE_ULL; f[i].ret = nvmlDeviceGetTotalEnergyConsumption(d, &f[i].v.ull); }
    if ((f[i].field == 185 || f[i].field == 186) && !number("FAKE_NVML_NO_FIELDS", 0)) {
      f[i].type = TYPE_UINT;
      f[i].ret = nvmlDeviceGetPowerUsage(d, &f[i].v.u);
    }
  }
  return OK;
}

// Time stamps are microseconds of the wall clock, as drivers give them; NOT_FOUND where nothing is newer.
R nvmlDeviceGetSamples(D d, int kind, u64 last, unsigned *type, unsigned *count, S *out) {
  R r = check(d);
  if (r) return r;
  double step = number("FAKE_NVML_SAMPLES_MS", 0) / 1e3, offset = unix_seconds() - now();
  if (kind != 0 || step <= 0 || number("FAKE_NVML_NO_POWER", 0)) return NOSUP;
  double newest = floor(now() / step);
  unsigned found = 0;
  for (int i = BUFFER - 1; i >= 0; i--) {
    double t = (newest - i) * step;
    u64 stamp = (u64)((t + offset) * 1e6);
    if (stamp <= last + 100) continue;  // the offset between the clocks jitters by microseconds: not a new sample
    if (out && found < *count) { out[found].stamp = stamp; out[found].v.u = (unsigned)(watts(index_of(d), t) * 1000); }
    found++;
  }
  *type = TYPE_UINT;
  if (out && found > *count) found = *count;
  *count = found;
  return found ? OK : NOTFOUND;
}

R nvmlDeviceGetEnforcedPowerLimit(D d, unsigned *p) { R r = check(d); if (!r) *p = 700000; return r; }
R nvmlDeviceGetPowerManagementLimit(D d, unsigned *p) { return nvmlDeviceGetEnforcedPowerLimit(d, p); }
R nvmlDeviceGetPowerManagementDefaultLimit(D d, unsigned *p) { return nvmlDeviceGetEnforcedPowerLimit(d, p); }
R nvmlDeviceGetPowerManagementLimitConstraints(D d, unsigned *a, unsigned *b) {
  R r = check(d);
  if (!r) { *a = 200000; *b = 700000; }
  return r;
}
R nvmlDeviceGetPowerManagementMode(D d, unsigned *m) { (void)d; *m = 1; return OK; }
R nvmlDeviceGetPersistenceMode(D d, unsigned *m) { (void)d; *m = 1; return OK; }
R nvmlDeviceGetMigMode(D d, unsigned *current, unsigned *pending) {
  R r = check(d);
  if (!r) *current = *pending = (unsigned)number("FAKE_NVML_MIG", 0);
  return r;
}
R nvmlDeviceGetTemperature(D d, int s, unsigned *t) { (void)d; (void)s; *t = 55; return OK; }
typedef struct { unsigned gpu, memory; } U;
R nvmlDeviceGetUtilizationRates(D d, U *u) { R r = check(d); if (!r) { u->gpu = 80; u->memory = 40; } return r; }
typedef struct { u64 total, free, used; } M;
R nvmlDeviceGetMemoryInfo(D d, M *m) {
  R r = check(d);
  if (!r) { m->total = 80ULL << 30; m->used = 10ULL << 30; m->free = 70ULL << 30; }
  return r;
}
R nvmlDeviceGetClockInfo(D d, int c, unsigned *m) { (void)d; (void)c; *m = 1500; return OK; }
R nvmlDeviceGetComputeRunningProcesses_v3(D d, unsigned *n, void *p) { (void)d; (void)p; *n = 0; return OK; }
R nvmlDeviceGetGraphicsRunningProcesses_v3(D d, unsigned *n, void *p) { (void)d; (void)p; *n = 0; return OK; }
