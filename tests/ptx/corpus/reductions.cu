// Reductions, histograms, and what is made of them.
#define INFINITE __int_as_float(0x7f800000)

__device__ __forceinline__ float warp_total(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ float warp_largest(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// One sum for each warp.
extern "C" __global__ void warp_sum(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  int value = i < n ? in[i] : 0;
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_down_sync(0xffffffffu, value, offset);
  if ((threadIdx.x & 31) == 0) out[i / 32] = value;
}

// Inclusive scan of each warp.
extern "C" __global__ void warp_scan(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  int value = i < n ? in[i] : 0;
  for (int offset = 1; offset < 32; offset <<= 1) {
    int left = __shfl_up_sync(0xffffffffu, value, offset);
    if (lane >= offset) value += left;
  }
  if (i < n) out[i] = value;
}

// Sums of the warps in shared memory, then a sum by the first warp.
extern "C" __global__ void block_sum(int n, const float *in, float *out) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
  sum = warp_total(sum);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (lane == 0) partial[warp] = sum;
  __syncthreads();
  if (warp == 0) {
    sum = lane < blockDim.x / 32 ? partial[lane] : 0;
    sum = warp_total(sum);
    if (lane == 0) out[blockIdx.x] = sum;
  }
}

// A tree in shared memory, for any size of block that is a power of two.
extern "C" __global__ void block_sum_tree(int n, const double *in, double *out) {
  extern __shared__ double tree[];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x * 2 + t;
  tree[t] = (i < n ? in[i] : 0) + (i + blockDim.x < n ? in[i + blockDim.x] : 0);
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half >>= 1) {
    if (t < half) tree[t] += tree[t + half];
    __syncthreads();
  }
  if (t == 0) out[blockIdx.x] = tree[0];
}

extern "C" __global__ void dot_product(int n, const float *x, const float *y, float *out) {
  __shared__ float products[128];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum = fmaf(x[i], y[i], sum);
  products[threadIdx.x] = sum;
  for (int half = 64; half > 0; half >>= 1) {
    __syncthreads();
    if (threadIdx.x < half) products[threadIdx.x] += products[threadIdx.x + half];
  }
  if (threadIdx.x == 0) atomicAdd(out, products[0]);
}

__device__ unsigned blocks_done = 0;

// The block that ends last adds up what the others left.
extern "C" __global__ void sum_by_last_block(int n, const unsigned *in, volatile unsigned *partial, unsigned *out) {
  __shared__ unsigned s[64];
  __shared__ bool last;
  unsigned sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
  s[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < blockDim.x; k++) sum += s[k];
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicInc(&blocks_done, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    sum = 0;
    for (int k = 0; k < gridDim.x; k++) sum += partial[k];
    *out = sum;
  }
}

// A warp for each row.
extern "C" __global__ void softmax_rows(int rows, int columns, const float *in, float *out) {
  int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
  if (row >= rows) return;
  const float *source = in + row * columns;
  float largest = -INFINITE;
  for (int k = lane; k < columns; k += 32) largest = fmaxf(largest, source[k]);
  largest = warp_largest(largest);
  float sum = 0;
  for (int k = lane; k < columns; k += 32) sum += expf(source[k] - largest);
  sum = __shfl_sync(0xffffffffu, warp_total(sum), 0);
  for (int k = lane; k < columns; k += 32) out[row * columns + k] = expf(source[k] - largest) / sum;
}

// A block for each row; mean and variance through shared memory.
extern "C" __global__ void layer_norm(int columns, const float *in, const float *gain, const float *shift, float *out) {
  __shared__ float sums[64], squares[64];
  const float *row = in + blockIdx.x * columns;
  float sum = 0, square = 0;
  for (int k = threadIdx.x; k < columns; k += 64) {
    sum += row[k];
    square += row[k] * row[k];
  }
  sums[threadIdx.x] = sum;
  squares[threadIdx.x] = square;
  __syncthreads();
  for (int half = 32; half > 0; half >>= 1) {
    if (threadIdx.x < half) {
      sums[threadIdx.x] += sums[threadIdx.x + half];
      squares[threadIdx.x] += squares[threadIdx.x + half];
    }
    __syncthreads();
  }
  float mean = sums[0] / columns, scale = rsqrtf(squares[0] / columns - mean * mean + 1e-5f);
  for (int k = threadIdx.x; k < columns; k += 64)
    out[blockIdx.x * columns + k] = (row[k] - mean) * scale * gain[k] + shift[k];
}

// Value and place of each block's largest element; the first of equals.
extern "C" __global__ void arg_max(int n, const float *in, float *values, int *places) {
  __shared__ float best[96];
  __shared__ int at[96];
  int t = threadIdx.x, i = blockIdx.x * 96 + t;
  best[t] = i < n ? in[i] : -INFINITE;
  at[t] = i;
  for (int size = 96; size > 1; size = (size + 1) / 2) {
    __syncthreads();
    int other = t + (size + 1) / 2;
    if (other < size && (best[other] > best[t] || (best[other] == best[t] && at[other] < at[t]))) {
      best[t] = best[other];
      at[t] = at[other];
    }
  }
  if (t == 0) {
    values[blockIdx.x] = best[0];
    places[blockIdx.x] = at[0];
  }
}

extern "C" __global__ void histogram_global(int n, const unsigned char *in, unsigned *bins) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) atomicAdd(&bins[in[i]], 1u);
}

extern "C" __global__ void histogram_shared(int n, int count, const int *in, unsigned *bins) {
  extern __shared__ unsigned local[];
  for (int k = threadIdx.x; k < count; k += blockDim.x) local[k] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[in[i] % count], 1u);
  __syncthreads();
  for (int k = threadIdx.x; k < count; k += blockDim.x)
    if (local[k]) atomicAdd(&bins[k], local[k]);
}

// Eight bins; a ballot for each bit of the value says which lanes hold the same.
extern "C" __global__ void histogram_ballot(int n, const unsigned char *in, unsigned *bins) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  int value = i < n ? in[i] & 7 : 8;
  unsigned same = 0xffffffffu;
  for (int bit = 0; bit < 4; bit++) {
    unsigned set = __ballot_sync(0xffffffffu, (value >> bit) & 1);
    same &= (value >> bit) & 1 ? set : ~set;
  }
  if (value < 8 && (same & ((1u << lane) - 1)) == 0) atomicAdd(&bins[value], (unsigned)__popc(same));
}

// Mean and variance in one pass, merged pairwise.
struct Moments { double count, mean, m2; };

__device__ Moments merge_moments(Moments a, Moments b) {
  double count = a.count + b.count;
  if (count == 0) return a;
  double delta = b.mean - a.mean;
  Moments merged = {count, a.mean + delta * b.count / count, a.m2 + b.m2 + delta * delta * a.count * b.count / count};
  return merged;
}

extern "C" __global__ void moments(int n, const float *in, Moments *out) {
  __shared__ Moments s[64];
  Moments mine = {0, 0, 0};
  for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += gridDim.x * 64) {
    Moments one = {1, in[i], 0};
    mine = merge_moments(mine, one);
  }
  s[threadIdx.x] = mine;
  __syncthreads();
  for (int half = 32; half > 0; half /= 2) {
    if (threadIdx.x < half) s[threadIdx.x] = merge_moments(s[threadIdx.x], s[threadIdx.x + half]);
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = s[0];
}
