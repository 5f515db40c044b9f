// Control flow, barriers and memory spaces. PTX: nvcc -ptx -arch=compute_80 control.cu -o control.ptx
__constant__ int primes[8] = {2, 3, 5, 7, 11, 13, 17, 19};
struct Pair { int a; float b[3]; };

// Threads that leave before a barrier, one after the other.
extern "C" __global__ void early_return(int n, const int *in, int *out) {
  __shared__ int s[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  s[t] = 0;
  if (i >= n) return;
  s[t] = in[i];
  __syncthreads();
  int other = s[63 - t];
  for (int round = 0; round < 3; round++) {
    __syncthreads();
    s[t] += other + round;
    __syncthreads();
    other = s[t ^ 1];
  }
  out[i] = other;
}
// A barrier that threads reach by different ways.
extern "C" __global__ void split_barrier(const int *in, int *out) {
  __shared__ int s[64];
  int t = threadIdx.x;
  if (in[t] & 1) { s[t] = in[t] * 3; __syncthreads(); s[t] += 1; }
  else { s[t] = in[t] + 100; __syncthreads(); s[t] -= 1; }
  __syncthreads();
  out[t] = s[63 - t];
}
// Every thread goes round another number of times.
extern "C" __global__ void collatz(int n, const unsigned *in, unsigned *steps) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned v = in[i], count = 0;
  while (v != 1) { v = v & 1 ? 3 * v + 1 : v / 2; count++; }
  steps[i] = count;
}
// Loops of a divergent length inside a lockstep loop, with a remainder.
extern "C" __global__ void ragged(int n, const int *lengths, const int *data, int *out) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    int sum = 0;
    for (int k = 0; k < lengths[i]; k++) sum += data[k * n + i];
    out[i] = sum;
  }
}
extern "C" __global__ void choose(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = in[i], r;
  switch (v & 7) {
    case 0: r = v + 1; break;
    case 1: r = v * v; break;
    case 2: r = -v; break;
    case 3: r = v >> 2; break;
    case 4: r = v ^ 0x55; break;
    case 5: r = primes[(v >> 3) & 7]; break;
    default: r = v % 7; break;
  }
  out[i] = r;
}
extern "C" __global__ void local_array(int n, const int *index, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int a[16];
  for (int k = 0; k < 16; k++) a[k] = i * k + 1;
  a[index[i] & 15] = -1;
  int sum = 0;
  for (int k = 0; k < 16; k++) sum = sum * 3 + a[(k + index[i]) & 15];
  out[i] = sum;
}
extern "C" __global__ void by_value(Pair p, int k, float *out) { out[threadIdx.x] = p.a + p.b[(threadIdx.x + k) % 3]; }
extern "C" __global__ void iota3(int nx, int ny, int nz, int *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y,
      z = blockIdx.z * blockDim.z + threadIdx.z;
  if (x < nx && y < ny && z < nz) out[(z * ny + y) * nx + x] = (z << 20) | (y << 10) | x;
}
extern "C" __global__ void vector_copy(int n, const float4 *in, float4 *out, const uchar4 *bytes, uchar4 *swapped) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float4 v = in[i];
  out[i] = make_float4(v.w, v.z, v.y, v.x);
  uchar4 b = bytes[i];
  swapped[i] = make_uchar4(b.w, b.x, b.y, b.z);
}
__device__ __noinline__ int unused(int a) { return a + 1; }
extern "C" __global__ void stop_at(int index, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = i;
  if (i == index) __trap();
}
extern "C" __global__ void atomics(int n, const int *in, unsigned *words, int *sw, unsigned long long *wide, float *sum) {
  __shared__ unsigned local[8];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  if (t < 8) local[t] = t == 2 ? 0xffffffffu : t == 4 ? 0xffffffffu : 0;
  __syncthreads();
  if (i < n) {
    unsigned v = in[i];
    atomicAdd(&words[0], v); atomicMax(&words[1], v); atomicMin(&words[2], v); atomicOr(&words[3], v);
    atomicAnd(&words[4], v); atomicXor(&words[5], v); atomicInc(&words[6], 9); atomicDec(&words[7], 9);
    atomicMax(&sw[0], in[i]); atomicMin(&sw[1], in[i]);
    atomicAdd(&wide[0], (unsigned long long)v); atomicMax(&wide[1], (unsigned long long)v << 20);
    atomicAdd(&sum[0], 0.5f);
    atomicAdd(&local[0], v); atomicMax(&local[1], v); atomicMin(&local[2], v); atomicOr(&local[3], v);
    atomicAnd(&local[4], v); atomicXor(&local[5], v); atomicInc(&local[6], 9); atomicDec(&local[7], 9);
    unsigned old = words[8], seen;
    do { seen = old; old = atomicCAS(&words[8], seen, seen + v); } while (old != seen);
    if (atomicExch(&words[9], i + 1) == 0xdeadbeefu) words[9] = 0;
  }
  __syncthreads();
  if (t < 8) words[16 + blockIdx.x * 8 + t] = local[t];
}
// Threads leave a loop with barriers in the same place, but in different iterations.
extern "C" __global__ void uneven_exit(const int *in, int *out) {
  __shared__ int s[64];
  int t = threadIdx.x, k = 0;
  for (;;) {
    s[t] = k + t;
    __syncthreads();
    int v = s[63 - t];
    __syncthreads();
    if (in[t * 16 + k] + (v & 0) && k > 3) break;
    k++;
  }
  out[t] = k;
}
