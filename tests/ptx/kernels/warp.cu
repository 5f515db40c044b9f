// Warp operations. PTX: nvcc -ptx -arch=compute_80 warp.cu -o warp.ptx
#include <cooperative_groups.h>
namespace cg = cooperative_groups;
#define FULL 0xffffffffu
#define LINEAR ((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x)

__device__ __forceinline__ int warp_sum(int v) {
  for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(FULL, v, d);
  return v;
}
// Every form of shfl: target, and whether the other lane was inside, for constant and variable distances.
extern "C" __global__ void shuffles(const int *in, int d, int width, int *out, int n) {
  int t = LINEAR, v = in[t];
  int *o = out + t;
  *o = __shfl_up_sync(FULL, v, 3); o += n;
  *o = __shfl_down_sync(FULL, v, 5, 8); o += n;
  *o = __shfl_xor_sync(FULL, v, 9); o += n;
  *o = __shfl_sync(FULL, v, 7, 16); o += n;
  *o = __shfl_up_sync(FULL, v, d, width); o += n;
  *o = __shfl_down_sync(FULL, v, d, width); o += n;
  *o = __shfl_xor_sync(FULL, v, d, width); o += n;
  *o = __shfl_sync(FULL, v, v, width); o += n;
  int r; int p;
  asm volatile("{.reg .pred q; shfl.sync.up.b32 %0|q, %2, 2, 0, -1; selp.s32 %1, 1, 0, q;}" : "=r"(r), "=r"(p) : "r"(v));
  *o = r * 2 + p; o += n;
  asm volatile("{.reg .pred q; shfl.sync.down.b32 %0|q, %2, %3, 31, -1; selp.s32 %1, 1, 0, q;}" : "=r"(r), "=r"(p) : "r"(v), "r"(d));
  *o = r * 2 + p;
}
extern "C" __global__ void shuffle_doubles(const double *in, double *out) {
  int t = LINEAR;
  out[t] = in[t] + 2 * __shfl_xor_sync(FULL, in[t], 16);
}
extern "C" __global__ void votes(const int *in, unsigned *out, int n) {
  int t = LINEAR, v = in[t];
  unsigned *o = out + t;
  *o = __all_sync(FULL, v & 1); o += n;
  *o = __any_sync(FULL, v & 1); o += n;
  *o = __ballot_sync(FULL, v & 1); o += n;
  *o = __uni_sync(FULL, v & 1); o += n;
  *o = __activemask(); o += n;
  *o = __match_any_sync(FULL, v); o += n;
  int all; *o = __match_all_sync(FULL, v, &all); o += n;
  *o = all; o += n;
  *o = __match_any_sync(FULL, (unsigned long long)v << 40 | 5); o += n;
  *o = __match_all_sync(FULL, (unsigned long long)v << 40 | 5, &all);
}
extern "C" __global__ void reductions(const int *in, unsigned *out, int n) {
  int t = LINEAR, v = in[t];
  unsigned *o = out + t;
  *o = __reduce_add_sync(FULL, v); o += n;
  *o = __reduce_min_sync(FULL, v); o += n;
  *o = __reduce_max_sync(FULL, v); o += n;
  *o = __reduce_min_sync(FULL, (unsigned)v); o += n;
  *o = __reduce_max_sync(FULL, (unsigned)v); o += n;
  *o = __reduce_and_sync(FULL, (unsigned)v); o += n;
  *o = __reduce_or_sync(FULL, (unsigned)v); o += n;
  *o = __reduce_xor_sync(FULL, (unsigned)v);
}
extern "C" __global__ void lane_registers(unsigned *out, int n) {
  unsigned r; unsigned *o = out + LINEAR;
  asm("mov.u32 %0, %%laneid;" : "=r"(r)); *o = r; o += n;
  asm("mov.u32 %0, %%warpid;" : "=r"(r)); *o = r; o += n;
  asm("mov.u32 %0, %%lanemask_eq;" : "=r"(r)); *o = r; o += n;
  asm("mov.u32 %0, %%lanemask_lt;" : "=r"(r)); *o = r; o += n;
  asm("mov.u32 %0, %%lanemask_le;" : "=r"(r)); *o = r; o += n;
  asm("mov.u32 %0, %%lanemask_gt;" : "=r"(r)); *o = r; o += n;
  asm("mov.u32 %0, %%lanemask_ge;" : "=r"(r)); *o = r;
}
// One sum for each warp of a grid; a loop in strides, then shuffles.
extern "C" __global__ void warp_sums(int n, const int *in, int *out) {
  int sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) out[(blockIdx.x * blockDim.x + threadIdx.x) / 32] = sum;
}
// The reduction that everybody writes; the result goes back to all threads, and once more round.
__device__ __forceinline__ int block_sum(int v) {
  __shared__ int part[32];
  __shared__ int total;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  v = warp_sum(v);
  if (lane == 0) part[warp] = v;
  __syncthreads();
  if (warp == 0) {
    v = lane < (blockDim.x + 31) / 32 ? part[lane] : 0;
    v = warp_sum(v);
    if (lane == 0) total = v;
  }
  __syncthreads();
  v = total;
  __syncthreads();
  return v;
}
extern "C" __global__ void block_sums(int n, int rounds, const int *in, int *out) {
  for (int round = 0; round < rounds; round++) {
    int sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += in[round * n + i];
    sum = block_sum(sum);
    for (int i = threadIdx.x; i < n; i += blockDim.x)
      out[(blockIdx.x * rounds + round) * n + i] = in[round * n + i] * 1000 + sum;
  }
}
extern "C" __global__ void block_scan(int n, const int *in, int *out) {
  __shared__ int part[32];
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int v = i < n ? in[i] : 0;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) { int o = __shfl_up_sync(FULL, v, d); if (lane >= d) v += o; }
  if (lane == 31) part[warp] = v;
  __syncthreads();
  if (warp == 0) {
    int p = lane < blockDim.x / 32 ? part[lane] : 0;
    for (int d = 1; d < 32; d *= 2) { int o = __shfl_up_sync(FULL, p, d); if (lane >= d) p += o; }
    part[lane] = p;
  }
  __syncthreads();
  if (warp > 0) v += part[warp - 1];
  if (i < n) out[i] = v;
}
// The elements above a limit, packed; one atomic for each warp.
extern "C" __global__ void compact(int n, const int *in, int limit, int *out, int *count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
  bool keep = i < n && in[i] > limit;
  unsigned mask = __ballot_sync(FULL, keep);
  int base = 0;
  if (lane == 0) base = atomicAdd(count, __popc(mask));
  base = __shfl_sync(FULL, base, 0);
  if (keep) out[base + __popc(mask & ((1u << lane) - 1))] = in[i];
}
// Lanes of the same value count together.
extern "C" __global__ void histogram_by_match(int n, const int *in, int *bins) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned active = __activemask();
  unsigned same = __match_any_sync(active, in[i]);
  if ((threadIdx.x & 31) == __ffs(same) - 1) atomicAdd(&bins[in[i]], __popc(same));
}
// Each warp transposes 32 x 32 elements in registers.
extern "C" __global__ void transpose_in_registers(const int *in, int *out) {
  int lane = threadIdx.x % 32, base = (blockIdx.x * blockDim.x + threadIdx.x) / 32 * 1024;
  int v[32];
#pragma unroll
  for (int k = 0; k < 32; k++) v[k] = in[base + k * 32 + lane];
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
#pragma unroll
    for (int k = 0; k < 32; k++) if (!(k & d)) {
      int mine = lane & d ? v[k] : v[k | d];
      int other = __shfl_xor_sync(FULL, mine, d);
      if (lane & d) v[k] = other; else v[k | d] = other;
    }
  }
#pragma unroll
  for (int k = 0; k < 32; k++) out[base + k * 32 + lane] = v[k];
}
// A warp for each row, rows of different lengths.
extern "C" __global__ void row_sums(int rows, const int *start, const int *in, int *out) {
  int lane = threadIdx.x % 32;
  for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32; row < rows; row += gridDim.x * blockDim.x / 32) {
    int sum = 0;
    for (int i = start[row] + lane; i < start[row + 1]; i += 32) sum += in[i];
    sum = warp_sum(sum);
    if (lane == 0) out[row] = sum;
  }
}
// Each warp goes round another number of times, with a shuffle and a counter in the loop.
extern "C" __global__ void uneven_loops(const int *rounds, int *out) {
  int t = threadIdx.x, v = t, k;
  for (k = 0; k < rounds[t / 32]; k++) v = __shfl_xor_sync(FULL, v, 1 + k % 31) + k;
  out[t] = v * 100 + k;
}
// Each lane goes round another number of times; the mask is who is left.
extern "C" __global__ void uneven_lanes(const int *rounds, int *out) {
  int t = threadIdx.x, sum = 0, n = rounds[t];
  unsigned mask = __ballot_sync(FULL, n > 0);
  for (int k = 0; k < n; k++) {
    sum += __popc(__ballot_sync(mask, k % 2 == t % 2)) * (k + 1);
    mask = __ballot_sync(mask, k + 1 < n);
  }
  out[t] = sum;
}
// Both sides of a branch have their own warp operations; then all.
extern "C" __global__ void two_sides(const int *in, int *out) {
  int t = threadIdx.x, v = in[t];
  unsigned odd = __ballot_sync(FULL, v & 1);
  if (v & 1) { v = __reduce_add_sync(odd, v); v += __popc(__activemask()); }
  else v = __reduce_max_sync(~odd, v);
  out[t] = v + __shfl_xor_sync(FULL, v, 1) * 7;
}
// Threads leave before, and those that have left count no more.
extern "C" __global__ void leave_before(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = in[i];
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(FULL, v, d);
  out[i] = v + (__all_sync(FULL, v != 0) << 20);
}
// Tiles of cooperative groups.
extern "C" __global__ void tiles(const int *in, int *out, int n) {
  auto block = cg::this_thread_block();
  auto tile = cg::tiled_partition<8>(block);
  int t = block.thread_rank(), v = in[t];
  for (int d = tile.size() / 2; d > 0; d /= 2) v += tile.shfl_xor(v, d);
  out[t] = v;
  out[n + t] = tile.ballot(in[t] & 1) * 100 + tile.thread_rank();
  if (in[t] & 2) {
    auto some = cg::coalesced_threads();
    out[2 * n + t] = some.size() * 100 + some.thread_rank();
    some.sync();
  } else out[2 * n + t] = -1;
  tile.sync();
  out[3 * n + t] = tile.any(in[t] == 3);
}
// Producers and consumers in one warp.
extern "C" __global__ void hand_over(const int *in, int *out) {
  __shared__ int slot[32];
  int t = threadIdx.x, lane = t % 32;
  if (lane == 0) { for (int k = 0; k < in[t / 32]; k++) slot[t / 32] = k * 3; __syncwarp(); }
  else { __syncwarp(); out[t] = slot[t / 32] + lane; }
}
extern "C" __global__ void spread(int n, const float *in, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float v = i < n ? in[i] : -1e30f;
  float m = v;
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) m = fmaxf(m, __shfl_xor_sync(FULL, m, d));
  float e = i < n ? v - m : 0, s = e;
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) s += __shfl_xor_sync(FULL, s, d);
  if (i < n) out[i] = e - s;
}
