// Atomic operations and loops made of them.

// The largest float, by comparing and swapping bits.
__device__ float atomic_max_float(float *address, float value) {
  int *bits = (int *)address, old = *bits, assumed;
  do {
    assumed = old;
    old = atomicCAS(bits, assumed, __float_as_int(fmaxf(value, __int_as_float(assumed))));
  } while (assumed != old);
  return __int_as_float(old);
}

extern "C" __global__ void max_by_swap(int n, int groups, const float *in, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) atomic_max_float(&out[i % groups], in[i]);
}

// Products in double precision, by a loop on 64 bits.
extern "C" __global__ void product_by_swap(int n, int groups, const double *in, unsigned long long *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned long long old = out[i % groups], assumed;
  do {
    assumed = old;
    old = atomicCAS(&out[i % groups], assumed, (unsigned long long)__double_as_longlong(__longlong_as_double(assumed) * in[i]));
  } while (old != assumed);
}

extern "C" __global__ void atomic_operators(int n, const int *in, int *out, unsigned *unsigned_out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = in[i];
  atomicAdd(&out[0], v);
  atomicSub(&out[1], v);
  atomicMin(&out[2], v);
  atomicMax(&out[3], v);
  atomicAnd(&out[4], v);
  atomicOr(&out[5], v & 0x0f0f);
  atomicXor(&out[6], v);
  atomicMin(&unsigned_out[0], (unsigned)v);
  atomicMax(&unsigned_out[1], (unsigned)v);
  atomicInc(&unsigned_out[2], 100);
  atomicDec(&unsigned_out[3], 1000);
}

extern "C" __global__ void atomic_operators_64(int n, const long long *in, long long *out, unsigned long long *unsigned_out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  atomicMin(&out[0], in[i]);
  atomicMax(&out[1], in[i]);
  unsigned long long v = in[i];
  atomicAdd(&unsigned_out[0], v);
  atomicAnd(&unsigned_out[1], v);
  atomicOr(&unsigned_out[2], v);
  atomicXor(&unsigned_out[3], v);
  atomicMax(&unsigned_out[4], v);
}

// The same in shared memory, with what the operations return.
extern "C" __global__ void shared_atomics(int n, const unsigned *in, unsigned *out, unsigned *order) {
  __shared__ unsigned least, most, ticket, bits;
  if (threadIdx.x == 0) {
    least = 0xffffffffu;
    most = ticket = bits = 0;
  }
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    atomicMin(&least, in[i]);
    atomicMax(&most, in[i]);
    atomicXor(&bits, in[i]);
    order[i] = atomicInc(&ticket, 0xffffu);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    out[4 * blockIdx.x] = least;
    out[4 * blockIdx.x + 1] = most;
    out[4 * blockIdx.x + 2] = bits;
    out[4 * blockIdx.x + 3] = ticket;
  }
}

// Bins of floating point numbers: atomic additions of both precisions.
extern "C" __global__ void float_bins(int n, int bins, const int *bin, const float *in, float *sums, double *wide_sums) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    atomicAdd(&sums[bin[i]], in[i]);
    atomicAdd(&wide_sums[bin[i]], (double)in[i] * in[i]);
  }
}

// A list for each bucket: the exchange returns what was its head.
extern "C" __global__ void linked_lists(int n, int buckets, const int *keys, int *heads, int *next) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) next[i] = atomicExch(&heads[keys[i] % buckets], i);
}

__device__ int work_taken;

// Threads take pieces of work from a counter until there is none.
extern "C" __global__ void take_work(int n, const int *in, int *out) {
  while (true) {
    int i = atomicAdd(&work_taken, 1);
    if (i >= n) return;
    out[i] = in[i] * in[i] - i;
  }
}

// The counter outlives a launch, so whoever launches again begins with this.
extern "C" __global__ void reset_work() { work_taken = 0; }
