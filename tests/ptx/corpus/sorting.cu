// Scans, sorts, compaction and merging.

// Inclusive scan of each block by doubling strides; the blocks' totals go to `totals`.
extern "C" __global__ void scan_blocks(int n, const int *in, int *out, int *totals) {
  __shared__ int s[2][128];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t, from = 0;
  s[0][t] = i < n ? in[i] : 0;
  __syncthreads();
  for (int stride = 1; stride < blockDim.x; stride *= 2) {
    s[from ^ 1][t] = s[from][t] + (t >= stride ? s[from][t - stride] : 0);
    from ^= 1;
    __syncthreads();
  }
  if (i < n) out[i] = s[from][t];
  if (t == blockDim.x - 1) totals[blockIdx.x] = s[from][t];
}

// Adds to each block what the blocks before it hold in total.
extern "C" __global__ void add_block_offsets(int n, int *data, const int *scanned_totals) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (blockIdx.x > 0 && i < n) data[i] += scanned_totals[blockIdx.x - 1];
}

// Work-efficient exclusive scan: an up-sweep and a down-sweep over two elements a thread.
extern "C" __global__ void scan_sweeps(const unsigned *in, unsigned *out, int n) {
  extern __shared__ unsigned tree[];
  int t = threadIdx.x, base = blockIdx.x * n;
  tree[2 * t] = in[base + 2 * t];
  tree[2 * t + 1] = in[base + 2 * t + 1];
  int offset = 1;
  for (int d = n >> 1; d > 0; d >>= 1, offset <<= 1) {
    __syncthreads();
    if (t < d) tree[offset * (2 * t + 2) - 1] += tree[offset * (2 * t + 1) - 1];
  }
  if (t == 0) tree[n - 1] = 0;
  for (int d = 1; d < n; d <<= 1) {
    offset >>= 1;
    __syncthreads();
    if (t < d) {
      int left = offset * (2 * t + 1) - 1, right = offset * (2 * t + 2) - 1;
      unsigned value = tree[left];
      tree[left] = tree[right];
      tree[right] += value;
    }
  }
  __syncthreads();
  out[base + 2 * t] = tree[2 * t];
  out[base + 2 * t + 1] = tree[2 * t + 1];
}

// Sorts keys with their values in shared memory, one block for each run of 256.
extern "C" __global__ void bitonic_sort_block(unsigned *keys, unsigned *values) {
  __shared__ unsigned k[256], v[256];
  int t = threadIdx.x, base = blockIdx.x * 256;
  k[t] = keys[base + t];
  v[t] = values[base + t];
  k[t + 128] = keys[base + t + 128];
  v[t + 128] = values[base + t + 128];
  for (unsigned size = 2; size <= 256; size <<= 1) {
    bool descending = (t & (size / 2)) != 0;
    for (unsigned stride = size / 2; stride > 0; stride >>= 1) {
      __syncthreads();
      unsigned at = 2 * t - (t & (stride - 1)), other = at + stride;
      if ((k[at] > k[other]) != descending) {
        unsigned swap = k[at];
        k[at] = k[other];
        k[other] = swap;
        swap = v[at];
        v[at] = v[other];
        v[other] = swap;
      }
    }
  }
  __syncthreads();
  keys[base + t] = k[t];
  values[base + t] = v[t];
  keys[base + t + 128] = k[t + 128];
  values[base + t + 128] = v[t + 128];
}

// One step of a bitonic sort of an array of any power of two.
extern "C" __global__ void bitonic_step(float *data, int n, int stride, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, partner = i ^ stride;
  if (i >= n || partner <= i) return;
  bool ascending = (i & size) == 0;
  float a = data[i], b = data[partner];
  if ((a > b) == ascending) {
    data[i] = b;
    data[partner] = a;
  }
}

// Odd-even transposition with a barrier for each round.
extern "C" __global__ void odd_even_sort(int n, short *data) {
  extern __shared__ short row[];
  int t = threadIdx.x;
  for (int i = t; i < n; i += blockDim.x) row[i] = data[blockIdx.x * n + i];
  for (int round = 0; round < n; round++) {
    __syncthreads();
    int left = 2 * t + (round & 1);
    if (left + 1 < n && row[left] > row[left + 1]) {
      short swap = row[left];
      row[left] = row[left + 1];
      row[left + 1] = swap;
    }
  }
  __syncthreads();
  for (int i = t; i < n; i += blockDim.x) data[blockIdx.x * n + i] = row[i];
}

// Radix sort, one digit of four bits: count, then scatter in order.
extern "C" __global__ void radix_count(int n, int shift, const unsigned *keys, int *counts) {
  __shared__ int bins[16];
  if (threadIdx.x < 16) bins[threadIdx.x] = 0;
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) atomicAdd(&bins[(keys[i] >> shift) & 15], 1);
  __syncthreads();
  if (threadIdx.x < 16) counts[threadIdx.x * gridDim.x + blockIdx.x] = bins[threadIdx.x];
}

extern "C" __global__ void scan_serial(int n, int *data) {
  if (threadIdx.x != 0 || blockIdx.x != 0) return;
  int sum = 0;
  for (int i = 0; i < n; i++) {
    int value = data[i];
    data[i] = sum;
    sum += value;
  }
}

extern "C" __global__ void radix_scatter(int n, int shift, const unsigned *keys, unsigned *out, const int *starts) {
  __shared__ unsigned digits[128];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  unsigned key = i < n ? keys[i] : 0;
  digits[t] = i < n ? (key >> shift) & 15 : 16;
  __syncthreads();
  if (i >= n) return;
  int rank = 0;
  for (int before = 0; before < t; before++) rank += digits[before] == digits[t];
  out[starts[digits[t] * gridDim.x + blockIdx.x] + rank] = key;
}

// Keeps the positive elements; a warp asks for room once, by ballot.
extern "C" __global__ void compact_by_ballot(int n, const int *in, int *out, int *count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  int value = i < n ? in[i] : -1;
  unsigned kept = __ballot_sync(0xffffffffu, value > 0);
  int base = 0;
  if (lane == 0) base = atomicAdd(count, __popc(kept));
  base = __shfl_sync(0xffffffffu, base, 0);
  if (value > 0) out[base + __popc(kept & ((1u << lane) - 1))] = value;
}

// Merges two sorted arrays: each thread finds the place of one output by bisection of its diagonal.
extern "C" __global__ void merge_path(int na, const int *a, int nb, const int *b, int *out) {
  int diagonal = blockIdx.x * blockDim.x + threadIdx.x;
  if (diagonal >= na + nb) return;
  int low = diagonal > nb ? diagonal - nb : 0, high = diagonal < na ? diagonal : na;
  while (low < high) {
    int middle = (low + high) / 2;
    if (a[middle] <= b[diagonal - 1 - middle]) low = middle + 1;
    else high = middle;
  }
  int i = low, j = diagonal - low;
  out[diagonal] = j >= nb || (i < na && a[i] <= b[j]) ? a[i] : b[j];
}
