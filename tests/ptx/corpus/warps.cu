// What the threads of a warp do together: votes, matches, shuffles.
#define INFINITE __int_as_float(0x7f800000)

// Equal values of a warp find one another; one of them adds for all.
extern "C" __global__ void histogram_match(int n, const int *in, int *bins) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  unsigned active = __ballot_sync(0xffffffffu, i < n);
  if (i >= n) return;
  unsigned same = __match_any_sync(active, in[i]);
  if (__ffs(same) - 1 == lane) atomicAdd(&bins[in[i]], __popc(same));
}

// Histogram in registers: lane k holds the count of value k, and values go round by shuffles.
extern "C" __global__ void histogram_shuffle(int n, const unsigned char *in, unsigned *bins) {
  int lane = threadIdx.x & 31;
  unsigned mine = 0;
  for (int base = blockIdx.x * blockDim.x + (threadIdx.x & ~31); base < n; base += gridDim.x * blockDim.x) {
    int value = base + lane < n ? in[base + lane] & 31 : -1;
    for (int k = 0; k < 32; k++) mine += __shfl_sync(0xffffffffu, value, k) == lane;
  }
  if (mine) atomicAdd(&bins[lane], mine);
}

// Votes of parts of a warp, under divergence.
extern "C" __global__ void warp_votes(int n, const int *in, unsigned *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  if (i >= n) return;
  unsigned result;
  if (lane < 12) {
    result = __ballot_sync(0x00000fffu, in[i] & 1);
    if (__any_sync(0x00000fffu, in[i] > 90)) result |= 1u << 30;
  } else {
    result = __ballot_sync(0xfffff000u, in[i] & 2);
    if (__all_sync(0xfffff000u, in[i] > 2)) result |= 1;
  }
  __syncwarp();
  int agreed;
  unsigned same = __match_all_sync(0xffffffffu, in[i] / 200, &agreed);
  out[2 * i] = result;
  out[2 * i + 1] = same ^ agreed;
}

// Shuffles in segments of a warp, with lanes that leave their segment; 64 bits, and floats.
extern "C" __global__ void segment_shuffles(int n, const int *in, int *out, long long *wide, float *floats) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = in[i];
  out[i] = __shfl_down_sync(0xffffffffu, v, 3, 8);
  out[n + i] = __shfl_up_sync(0xffffffffu, v, 5, 16);
  out[2 * n + i] = __shfl_sync(0xffffffffu, v, v & 31, 4);
  out[3 * n + i] = __shfl_xor_sync(0xffffffffu, v, 9);
  wide[i] = __shfl_sync(0xffffffffu, v * 10000000000ll + i, (i * 7) & 31);
  floats[i] = __shfl_xor_sync(0xffffffffu, v * 0.5f, 1, 2);
}

// Reductions of whole numbers by one instruction.
extern "C" __global__ void warp_reduce(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, v = i < n ? in[i] : 0;
  int sum = __reduce_add_sync(0xffffffffu, v), least = __reduce_min_sync(0xffffffffu, v);
  unsigned bits = v, most = __reduce_max_sync(0xffffffffu, bits), both = __reduce_and_sync(0xffffffffu, bits | 7);
  unsigned either = __reduce_or_sync(0xffffffffu, bits & 0xff00u), odd = __reduce_xor_sync(0xffffffffu, bits);
  if ((threadIdx.x & 31) == 0 && i < n) {
    int *row = out + i / 32 * 6;
    row[0] = sum;
    row[1] = least;
    row[2] = most;
    row[3] = both;
    row[4] = either;
    row[5] = odd;
  }
}

// Sorts each warp in registers.
extern "C" __global__ void warp_bitonic(int n, float *data) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  float v = i < n ? data[i] : INFINITE;
  for (int size = 2; size <= 32; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      float other = __shfl_xor_sync(0xffffffffu, v, stride);
      bool low = (lane & stride) == 0, ascending = (lane & size) == 0;
      v = low == ascending ? fminf(v, other) : fmaxf(v, other);
    }
  if (i < n) data[i] = v;
}

// Warps hand values over through shared memory, with a barrier of the warp between.
extern "C" __global__ void warp_transpose(const int *in, int *out) {
  __shared__ int tile[2][32][33];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, base = (blockIdx.x * 2 + warp) * 1024;
  for (int k = 0; k < 32; k++) tile[warp][k][lane] = in[base + k * 32 + lane];
  __syncwarp();
  for (int k = 0; k < 32; k++) out[base + k * 32 + lane] = tile[warp][lane][k];
}

// Sums of runs of equal keys within a warp, at the head of each run.
extern "C" __global__ void segmented_sum(int n, const int *keys, const float *values, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  int key = i < n ? keys[i] : -1;
  float sum = i < n ? values[i] : 0;
  for (int offset = 1; offset < 32; offset *= 2) {
    int other_key = __shfl_down_sync(0xffffffffu, key, offset);
    float other = __shfl_down_sync(0xffffffffu, sum, offset);
    if (lane + offset < 32 && other_key == key) sum += other;
  }
  int before = __shfl_up_sync(0xffffffffu, key, 1);
  if (i < n) out[i] = lane == 0 || before != key ? sum : 0;
}
