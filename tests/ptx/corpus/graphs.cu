// Graphs, trees, sequences and clusters.
#define INFINITE __int_as_float(0x7f800000)

// Breadth-first search, level by level over all nodes.
extern "C" __global__ void bfs_level(int nodes, int level, const int *starts, const int *edges, int *distance, int *changed) {
  int node = blockIdx.x * blockDim.x + threadIdx.x;
  if (node >= nodes || distance[node] != level) return;
  for (int e = starts[node]; e < starts[node + 1]; e++) {
    if (distance[edges[e]] < 0) {
      distance[edges[e]] = level + 1;
      *changed = 1;
    }
  }
}

// Breadth-first search with queues of nodes: the one that wins the exchange puts a node into the next queue.
extern "C" __global__ void bfs_frontier(int level, const int *starts, const int *edges, int *distance, const int *queue, const int *size, int *next, int *next_size) {
  __shared__ int found[256], count, base;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < *size; i += gridDim.x * blockDim.x) {
    int node = queue[i];
    for (int e = starts[node]; e < starts[node + 1]; e++) {
      int other = edges[e];
      if (atomicCAS(&distance[other], -1, level + 1) == -1) {
        int at = atomicAdd(&count, 1);
        if (at < 256) found[at] = other;
        else next[atomicAdd(next_size, 1)] = other;
      }
    }
  }
  __syncthreads();
  int kept = min(count, 256);
  if (threadIdx.x == 0) base = atomicAdd(next_size, kept);
  __syncthreads();
  for (int k = threadIdx.x; k < kept; k += blockDim.x) next[base + k] = found[k];
}

// Relaxes every edge once: weights may be negative.
extern "C" __global__ void relax_edges(int edges, const int3 *edge, long long *distance) {
  int e = blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= edges) return;
  int3 one = edge[e];
  long long from = distance[one.x];
  if (from < (1ll << 60)) atomicMin(&distance[one.y], from + one.z);
}

// All shortest paths: the step through node k.
extern "C" __global__ void floyd_warshall(int n, int k, int *distance) {
  int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i < n && j < n) distance[i * n + j] = min(distance[i * n + j], distance[i * n + k] + distance[k * n + j]);
}

// Labels of connected components: hooks the larger root to the smaller one, then shortens the paths.
extern "C" __global__ void hook_components(int edges, const int2 *edge, unsigned *parent) {
  int e = blockIdx.x * blockDim.x + threadIdx.x;
  if (e >= edges) return;
  unsigned a = edge[e].x, b = edge[e].y;
  while (true) {
    while (parent[a] != a) a = parent[a];
    while (parent[b] != b) b = parent[b];
    if (a == b) return;
    unsigned high = max(a, b), low = min(a, b);
    unsigned seen = atomicCAS(&parent[high], high, low);
    if (seen == high) return;
    a = seen;
    b = low;
  }
}

extern "C" __global__ void flatten_components(int nodes, unsigned *parent) {
  int node = blockIdx.x * blockDim.x + threadIdx.x;
  if (node >= nodes) return;
  unsigned root = node;
  while (parent[root] != root) root = parent[root];
  parent[node] = root;
}

// Every node takes the rank of those that point to it, by atomic additions of double precision.
extern "C" __global__ void page_rank(int nodes, double damping, const int *starts, const int *edges, const double *rank, double *next) {
  int node = blockIdx.x * blockDim.x + threadIdx.x;
  if (node >= nodes) return;
  int degree = starts[node + 1] - starts[node];
  for (int e = starts[node]; e < starts[node + 1]; e++) atomicAdd(&next[edges[e]], damping * rank[node] / degree);
}

// Alignment of two sequences: one anti-diagonal of tiles for each launch.
extern "C" __global__ void needleman_wunsch(int n, int tile_diagonal, int penalty, const int *reference, int *score) {
  __shared__ int s[17][17], match[16][16];
  int t = threadIdx.x, tiles = n / 16, first = tile_diagonal < tiles ? 0 : tile_diagonal - tiles + 1;
  int bx = first + blockIdx.x, by = tile_diagonal - bx, pitch = n + 1;
  for (int i = 0; i < 16; i++) match[i][t] = reference[(by * 16 + i) * n + bx * 16 + t];
  s[t + 1][0] = score[(by * 16 + t + 1) * pitch + bx * 16];
  s[0][t + 1] = score[by * 16 * pitch + bx * 16 + t + 1];
  if (t == 0) s[0][0] = score[by * 16 * pitch + bx * 16];
  __syncthreads();
  for (int d = 0; d < 31; d++) {
    int x = t, y = d - t;
    if (y >= 0 && y < 16)
      s[y + 1][x + 1] = max(s[y][x] + match[y][x], max(s[y][x + 1], s[y + 1][x]) - penalty);
    __syncthreads();
  }
  for (int i = 0; i < 16; i++) score[(by * 16 + i + 1) * pitch + bx * 16 + t + 1] = s[i + 1][t + 1];
}

// Edit distance to each of many words: a thread and a row in local memory for each.
extern "C" __global__ void levenshtein(int words, int length, const char *word, const char *dictionary, const int *lengths, int *distance) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= words) return;
  int row[33];
  for (int k = 0; k <= length; k++) row[k] = k;
  for (int c = 0; c < lengths[i]; c++) {
    int corner = row[0];
    row[0] = c + 1;
    char letter = dictionary[i * 32 + c];
    for (int k = 1; k <= length; k++) {
      int replaced = corner + (word[k - 1] != letter);
      corner = row[k];
      row[k] = min(replaced, min(row[k], row[k - 1]) + 1);
    }
  }
  distance[i] = row[length];
}

// The longest common subsequence, with a block that walks over the anti-diagonals.
extern "C" __global__ void common_subsequence(int n, int m, const char *a, const char *b, int *out) {
  extern __shared__ int diagonals[];
  int pitch = n + 1, *before = diagonals, *last = before + pitch, *now = last + pitch;
  for (int k = threadIdx.x; k < 3 * pitch; k += blockDim.x) diagonals[k] = 0;
  __syncthreads();
  for (int d = 2; d <= n + m; d++) {
    for (int i = max(1, d - m) + threadIdx.x; i <= min(n, d - 1); i += blockDim.x)
      now[i] = a[i - 1] == b[d - i - 1] ? before[i - 1] + 1 : max(last[i - 1], last[i]);
    __syncthreads();
    int *swap = before;
    before = last;
    last = now;
    now = swap;
  }
  if (threadIdx.x == 0) *out = last[n];
}

// Looks keys up in a binary search tree of indices.
struct Node { int key, left, right, value; };

extern "C" __global__ void tree_search(int n, const Node *tree, int root, const int *keys, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int at = root;
  while (at >= 0 && tree[at].key != keys[i]) at = keys[i] < tree[at].key ? tree[at].left : tree[at].right;
  out[i] = at >= 0 ? tree[at].value : -1;
}

// Counts the keys of a range in the tree, with a stack of its own instead of recursion.
extern "C" __global__ void tree_range(int n, const Node *tree, int root, const int2 *ranges, int *counts) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int stack[24], depth = 0, count = 0;
  stack[depth++] = root;
  while (depth > 0) {
    int at = stack[--depth];
    if (at < 0) continue;
    Node node = tree[at];
    if (node.key >= ranges[i].x) stack[depth++] = node.left;
    if (node.key <= ranges[i].y) stack[depth++] = node.right;
    count += node.key >= ranges[i].x && node.key <= ranges[i].y;
  }
  counts[i] = count;
}

// Open addressing: each key claims a slot, and adds to its count.
extern "C" __global__ void hash_count(int n, int slots, const unsigned *keys, unsigned *table, unsigned *counts) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned slot = keys[i] * 2654435769u % slots;
  while (true) {
    unsigned seen = atomicCAS(&table[slot], 0xffffffffu, keys[i]);
    if (seen == 0xffffffffu || seen == keys[i]) {
      atomicAdd(&counts[slot], 1u);
      return;
    }
    slot = slot + 1 == slots ? 0 : slot + 1;
  }
}

// Clusters: the nearest centre of each point (points by dimension), then sums for the new centres.
extern "C" __global__ void kmeans_assign(int points, int dimensions, int clusters, const float *point, const float *centre, int *membership) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= points) return;
  int best = 0;
  float least = INFINITE;
  for (int c = 0; c < clusters; c++) {
    float sum = 0;
    for (int d = 0; d < dimensions; d++) {
      float difference = point[d * points + i] - centre[c * dimensions + d];
      sum += difference * difference;
    }
    if (sum < least) {
      least = sum;
      best = c;
    }
  }
  membership[i] = best;
}

extern "C" __global__ void kmeans_update(int points, int dimensions, int clusters, const float *point, const int *membership, float *sums, int *counts) {
  extern __shared__ float local[];
  int *members = (int *)(local + clusters * dimensions);
  for (int k = threadIdx.x; k < clusters * dimensions; k += blockDim.x) local[k] = 0;
  for (int k = threadIdx.x; k < clusters; k += blockDim.x) members[k] = 0;
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < points) {
    for (int d = 0; d < dimensions; d++) atomicAdd(&local[membership[i] * dimensions + d], point[d * points + i]);
    atomicAdd(&members[membership[i]], 1);
  }
  __syncthreads();
  for (int k = threadIdx.x; k < clusters * dimensions; k += blockDim.x) atomicAdd(&sums[k], local[k]);
  for (int k = threadIdx.x; k < clusters; k += blockDim.x) atomicAdd(&counts[k], members[k]);
}

// The k nearest references of each query, kept sorted in local memory.
extern "C" __global__ void nearest_neighbours(int queries, int references, int k, const float2 *query, const float2 *reference, int *nearest) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= queries) return;
  float best[8];
  int place[8];
  for (int r = 0; r < k; r++) {
    best[r] = INFINITE;
    place[r] = -1;
  }
  for (int j = 0; j < references; j++) {
    float dx = query[i].x - reference[j].x, dy = query[i].y - reference[j].y, distance = dx * dx + dy * dy;
    int r = k - 1;
    if (distance >= best[r]) continue;
    for (; r > 0 && best[r - 1] > distance; r--) {
      best[r] = best[r - 1];
      place[r] = place[r - 1];
    }
    best[r] = distance;
    place[r] = j;
  }
  for (int r = 0; r < k; r++) nearest[i * k + r] = place[r];
}

// Exact matches of a pattern, with the failure table in shared memory; overlapping pieces of text.
extern "C" __global__ void find_pattern(int length, int piece, const unsigned char *text, int pattern_length, const unsigned char *pattern, const int *failure, unsigned char *found) {
  __shared__ int table[32];
  if (threadIdx.x < pattern_length) table[threadIdx.x] = failure[threadIdx.x];
  __syncthreads();
  int begin = (blockIdx.x * blockDim.x + threadIdx.x) * piece, end = min(begin + piece + pattern_length - 1, length), matched = 0;
  for (int i = begin; i < end; i++) {
    while (matched > 0 && pattern[matched] != text[i]) matched = table[matched - 1];
    matched += pattern[matched] == text[i];
    if (matched == pattern_length) {
      found[i - pattern_length + 1] = 1;
      matched = table[matched - 1];
    }
  }
}
