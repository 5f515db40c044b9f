// Tiles of warps, by cooperative groups (whose headers NVRTC has not got).
#include <cooperative_groups.h>

namespace cg = cooperative_groups;

// Sums of tiles of 8 threads.
extern "C" __global__ void tile_sum(int n, const int *in, int *out) {
  cg::thread_block_tile<8> tile = cg::tiled_partition<8>(cg::this_thread_block());
  int i = blockIdx.x * blockDim.x + threadIdx.x, value = i < n ? in[i] : 0;
  for (int offset = tile.size() / 2; offset > 0; offset /= 2) value += tile.shfl_down(value, offset);
  if (tile.thread_rank() == 0 && i < n) out[i / 8] = value;
}

// Tiles of 16 threads vote, and shuffle doubles.
extern "C" __global__ void tile_votes(int n, const double *in, double *out, unsigned *votes) {
  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<16> tile = cg::tiled_partition<16>(block);
  int i = block.group_index().x * block.size() + block.thread_rank();
  double value = i < n ? in[i] : -1;
  unsigned positive = tile.ballot(value > 0);
  bool all = tile.all(value > -0.5), any = tile.any(value > 0.9);
  double swapped = tile.shfl_xor(value, 5), first = tile.shfl(value, 0);
  tile.sync();
  if (i < n) out[i] = swapped - first;
  if (tile.thread_rank() == 0 && i < n) votes[i / 16] = positive | all << 16 | any << 17;
}

// The threads that are in a branch together ask for room once.
extern "C" __global__ void coalesced_append(int n, const int *in, int *out, int *count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && in[i] % 3 == 0) {
    cg::coalesced_group active = cg::coalesced_threads();
    int base = 0;
    if (active.thread_rank() == 0) base = atomicAdd(count, active.size());
    base = active.shfl(base, 0);
    out[base + active.thread_rank()] = in[i];
  }
}
