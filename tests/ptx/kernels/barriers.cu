// Barriers of a block. PTX: nvcc -ptx -arch=compute_80 barriers.cu -o barriers.ptx
#define LINEAR ((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x)

extern "C" __global__ void counts(const int *in, int *out, int n) {
  int t = LINEAR, v = in[t];
  out[t] = __syncthreads_count(v > 0);
  out[n + t] = __syncthreads_and(v > 0) != 0;
  out[2 * n + t] = __syncthreads_or(v > 0) != 0;
}
// Goes on until no thread has changed anything: the smallest label along a chain.
extern "C" __global__ void settle(int n, const int *links, int *labels, int *rounds) {
  __shared__ int s[256];
  int t = threadIdx.x, round = 0;
  s[t] = t;
  __syncthreads();
  bool changed;
  do {
    int mine = s[t], other = t < n ? s[links[t]] : mine;
    __syncthreads();
    changed = other < mine;
    if (changed) s[t] = other;
    round++;
  } while (__syncthreads_or(changed));
  labels[t] = s[t];
  rounds[t] = round;
}
// Threads that have left are not counted.
extern "C" __global__ void count_after_leaving(int n, const int *in, int *out) {
  int t = threadIdx.x;
  if (t >= n) return;
  out[t] = __syncthreads_count(in[t] > 0);
}
__device__ __forceinline__ void sync(int id, int count) { asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(count) : "memory"); }
__device__ __forceinline__ void arrive(int id, int count) { asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(count) : "memory"); }
// Two warps produce, two consume, through a buffer of two halves.
extern "C" __global__ void pipeline(int rounds, const int *in, int *out) {
  __shared__ int buffer[2][64];
  int t = threadIdx.x % 64;
  if (threadIdx.x < 64) {
    for (int k = 0; k < rounds; k++) {
      if (k >= 2) sync(3 + k % 2, 128);
      buffer[k % 2][t] = in[k * 64 + t] * 2;
      arrive(1 + k % 2, 128);
    }
  } else {
    for (int k = 0; k < rounds; k++) {
      sync(1 + k % 2, 128);
      out[k * 64 + t] = buffer[k % 2][63 - t];
      if (k + 2 < rounds) arrive(3 + k % 2, 128);
    }
  }
}
// Each half of the block has a barrier of its own, and rounds of its own.
extern "C" __global__ void halves(const int *rounds, const int *in, int *out) {
  __shared__ int s[128];
  int t = threadIdx.x, half = t / 64;
  s[t] = in[t];
  for (int k = 0; k < rounds[half]; k++) {
    sync(1 + half, 64);
    int v = s[half * 64 + (t + 1) % 64];
    sync(1 + half, 64);
    s[t] = v + k;
  }
  __syncthreads();
  out[t] = s[127 - t];
}
extern "C" __global__ void whole_block(const int *in, int *out) {
  __shared__ int s[96];
  s[threadIdx.x] = in[threadIdx.x];
  asm volatile("barrier.sync 5;" ::: "memory");
  int v = s[95 - threadIdx.x];
  asm volatile("barrier.cta.sync.aligned 6, 96;" ::: "memory");
  s[threadIdx.x] = v + 1;
  asm volatile("bar.cta.sync 15;" ::: "memory");
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}
// Half of the block waits at one barrier, half at another.
extern "C" __global__ void never_meet(int *out) {
  if (threadIdx.x < 32) asm volatile("bar.sync 1;" ::: "memory");
  else asm volatile("bar.sync 2;" ::: "memory");
  out[threadIdx.x] = 1;
}
// A warp waits for lanes that wait for the block.
extern "C" __global__ void warp_never_meets(int *out) {
  int v = threadIdx.x;
  if (threadIdx.x < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
  __syncthreads();
  out[threadIdx.x] = v;
}
extern "C" __global__ void too_few(int *out) {
  sync(1, 256);
  out[threadIdx.x] = 1;
}
