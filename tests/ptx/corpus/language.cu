// What the language offers: control flow, functions, structures, memory spaces.

extern "C" __global__ void switch_dense(int n, const int *code, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = in[i];
  switch (code[i]) {
    case 0: v = v + 3; break;
    case 1: v = v * v; break;
    case 2: v = -v;  // falls through
    case 3: v = v ^ 0x1234; break;
    case 4: v = v >> 2; break;
    case 5: for (int k = 0; k < (i & 7); k++) v = v * 3 + k; break;
    case 6: if (v < 0) { v = 0; break; } v = v % 11; break;
    case 7: return;
    case 8: v = v << (i & 3); break;
    case 9: v = ~v; break;
    case 10: v = v / 5; break;
    default: v = -1;
  }
  out[i] = v;
}

// A stack machine: a loop around a switch, with a program in constant memory.
__constant__ unsigned char program[16] = {1, 2, 3, 1, 4, 5, 2, 6, 3, 1, 4, 0};

extern "C" __global__ void interpreter(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int stack[8], top = 0, at = 0;
  stack[0] = in[i];
  while (program[at]) {
    switch (program[at++]) {
      case 1: stack[top + 1] = stack[top]; top++; break;
      case 2: stack[top] += 7; break;
      case 3: stack[top - 1] *= stack[top]; top--; break;
      case 4: stack[top] >>= 1; break;
      case 5: if (stack[top] & 1) at++; break;
      case 6: stack[top] ^= stack[0]; break;
    }
  }
  out[i] = stack[top] + 100 * top;
}

// Functions that are called, with values, pointers and structures both ways.
struct Vector { float x, y, z; };

__device__ __noinline__ Vector cross(Vector a, Vector b) {
  Vector c = {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
  return c;
}

__device__ __noinline__ float length(const Vector *v) { return sqrtf(v->x * v->x + v->y * v->y + v->z * v->z); }

__device__ __noinline__ void scale(Vector *v, float factor) {
  v->x *= factor;
  v->y *= factor;
  v->z *= factor;
}

extern "C" __global__ void called_functions(int n, const Vector *a, const Vector *b, Vector *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  Vector normal = cross(a[i], b[i]);
  scale(&normal, 1 / length(&normal));
  out[i] = cross(normal, a[i]);
}

__device__ __noinline__ int clip(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

__device__ __noinline__ long long mixed(char a, short b, long long c, bool negate) {
  long long r = a * 1000ll + b + c;
  return negate ? -r : r;
}

extern "C" __global__ void called_with_values(int n, const int *in, int *out, long long *wide) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = clip(in[i], -100, 100);
  if (v & 1) v = clip(v * 3, -50, clip(i, 0, 70));
  out[i] = v;
  wide[i] = mixed((char)v, (short)(in[i] >> 3), (long long)in[i] << 8, v > 0);
}

// One function that reads from shared, global, local and constant memory.
__constant__ int constants[8] = {3, 1, 4, 1, 5, 9, 2, 6};

__device__ __noinline__ int sum_of(const int *p, int count, int stride) {
  int sum = 0;
  for (int k = 0; k < count; k++) sum += p[k * stride];
  return sum;
}

extern "C" __global__ void generic_pointers(int n, const int *in, int *out) {
  __shared__ int s[64];
  int i = blockIdx.x * 64 + threadIdx.x, mine[5];
  s[threadIdx.x] = i < n ? in[i] : 0;
  for (int k = 0; k < 5; k++) mine[k] = i * k + s[threadIdx.x];
  __syncthreads();
  if (i >= n) return;
  int a = sum_of(s, 8, 1 + threadIdx.x % 8), b = sum_of(in, i % 10, 1), c = sum_of(mine, 5, 1), d = sum_of(constants, 1 + i % 8, 1);
  out[i] = a + 10 * b + 100 * c + 1000 * d;
}

// A pointer that is shared in some threads and global in others.
extern "C" __global__ void chosen_pointer(int n, const int *in, int *out) {
  __shared__ int s[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  s[threadIdx.x] = i < n ? -in[i] : 0;
  __syncthreads();
  if (i >= n) return;
  const int *from = in[i] & 1 ? s : in;
  out[i] = from[(threadIdx.x ^ 1) < n - blockIdx.x * 64 ? threadIdx.x ^ 1 : 0];
}

// Structures by value, with members of all sizes, an array, and a nested structure.
struct Inner { short a; char b; };
struct Settings { char flag; double gain; int table[5]; Inner inner; const int *data; };

extern "C" __global__ void struct_by_value(int n, Settings settings, double *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double v = settings.data[i] * settings.gain + settings.table[i % 5] + settings.inner.a - settings.inner.b;
  out[i] = settings.flag ? v : -v;
}

// Arrays of structures with bit fields, a union, and enumerations.
struct Packed { unsigned kind : 3, count : 9; int delta : 7; };
union Bits { float value; unsigned word; unsigned char bytes[4]; };
enum Kind { ADD = 1, SUBTRACT, MULTIPLY };

extern "C" __global__ void packed_records(int n, const Packed *in, int *out, unsigned *words) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  Packed p = in[i];
  out[i] = p.kind == ADD ? (int)p.count + p.delta : p.kind == SUBTRACT ? (int)p.count - p.delta : p.kind == MULTIPLY ? (int)p.count * p.delta : p.delta;
  Bits bits;
  bits.value = p.count * 0.5f;
  unsigned char swap = bits.bytes[0];
  bits.bytes[0] = bits.bytes[3];
  bits.bytes[3] = swap;
  words[i] = bits.word;
}

// Templates over types, values and functions.
template <typename T> struct Plus { __device__ T operator()(T a, T b) const { return a + b; } };
template <typename T> struct Larger { __device__ T operator()(T a, T b) const { return a > b ? a : b; } };

template <typename T, int WIDTH, typename Op> __global__ void fold(int n, const T *in, T *out, Op op) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  T folded = in[i * WIDTH];
#pragma unroll
  for (int k = 1; k < WIDTH; k++) folded = op(folded, in[i * WIDTH + k]);
  out[i] = folded;
}

template __global__ void fold<int, 4, Plus<int>>(int, const int *, int *, Plus<int>);
template __global__ void fold<double, 3, Larger<double>>(int, const double *, double *, Larger<double>);
template __global__ void fold<unsigned short, 7, Plus<unsigned short>>(int, const unsigned short *, unsigned short *, Plus<unsigned short>);

// Variables of the module: written by one kernel, read by another.
__device__ int table[64];
__device__ float factor, unit = 2.5f;
__device__ int2 pairs[3] = {{1, 2}, {3, 4}, {5, 6}};

extern "C" __global__ void fill_table(int start) {
  table[threadIdx.x] = start + threadIdx.x * threadIdx.x;
  if (threadIdx.x == 0) factor = unit * start;
}

extern "C" __global__ void read_table(int n, const int *index, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = table[index[i] & 63] * factor + pairs[i % 3].x - pairs[i % 3].y * 10;
}

// Several arrays of different types in dynamic shared memory.
extern "C" __global__ void dynamic_shared(int n, const double *in, double *out) {
  extern __shared__ double memory[];
  double *values = memory;
  int *order = (int *)(values + blockDim.x);
  unsigned char *flags = (unsigned char *)(order + blockDim.x);
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  values[t] = i < n ? in[i] : 0;
  order[t] = (t * 7 + 3) % blockDim.x;
  flags[t] = values[t] > 0.5;
  __syncthreads();
  if (i < n) out[i] = flags[order[t]] ? values[order[t]] : -values[t];
}

// Threads leave one after the other while the others go on meeting at barriers.
extern "C" __global__ void leaving_threads(const int *lives, int *out) {
  __shared__ int alive[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t, seen = 0;
  alive[t] = 1;
  for (int round = 0;; round++) {
    __syncthreads();
    for (int k = 0; k < 64; k++) seen += alive[k];
    __syncthreads();
    if (round == lives[i]) {
      alive[t] = 0;
      out[i] = seen;
      return;
    }
  }
}

// Loops with breaks, continues, returns, gotos, and conditions with side effects.
extern "C" __global__ void tangled_loops(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = in[i], sum = 0, k = 0;
again:
  for (; k < 40; k++) {
    if ((v + k) % 7 == 0) continue;
    if ((v ^ k) % 13 == 5) break;
    int j = k;
    do {
      sum += j;
      if (sum > 5000) {
        out[i] = -sum;
        return;
      }
    } while (j-- > 0 && (sum & 3) != 0);
    if (sum % 31 == 0 && k++ < 20) goto again;
  }
  while (k > 0 && (sum = sum * 2 - k) < 3000 && --k) sum += k & v;
  out[i] = sum;
}

// Loops around loops with barriers, of lengths that differ from block to block.
extern "C" __global__ void barrier_nest(int n, const int *rounds, const int *in, int *out) {
  __shared__ int s[48];
  int t = threadIdx.x, i = blockIdx.x * 48 + t;
  s[t] = in[i];
  for (int a = 0; a < rounds[blockIdx.x]; a++) {
    for (int stride = 1; stride < 48; stride *= 3) {
      __syncthreads();
      int other = s[(t + stride) % 48];
      __syncthreads();
      if (t % 3 != 1) s[t] = s[t] * 2 + other;
    }
    if ((a & 1) == 0) {
      __syncthreads();
      int mirrored = s[47 - t];
      __syncthreads();
      s[t] ^= mirrored;
    }
  }
  out[i] = s[t];
}

// A lambda, a reference, an array of pointers, and a volatile flag.
extern "C" __global__ void modern_style(int n, const int *a, const int *b, const int *c, int *out) {
  const int *sources[3] = {a, b, c};
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  auto pick = [&](int k) { return sources[k % 3][i]; };
  int best = pick(0), &reference = best;
  for (int k = 1; k < 3; k++) reference = max(reference, pick(i + k));
  volatile int twice = best;
  out[i] = twice + twice;
}

// A grid of three dimensions that strides in each of them.
extern "C" __global__ void strided_volume(int nx, int ny, int nz, const short *in, int *out) {
  for (int z = blockIdx.z * blockDim.z + threadIdx.z; z < nz; z += gridDim.z * blockDim.z)
    for (int y = blockIdx.y * blockDim.y + threadIdx.y; y < ny; y += gridDim.y * blockDim.y)
      for (int x = blockIdx.x * blockDim.x + threadIdx.x; x < nx; x += gridDim.x * blockDim.x)
        out[(x * ny + y) * nz + z] = in[(z * ny + y) * nx + x] * (z + 1) - y * x;
}

// Whether any, all, and how many threads of a block hold a condition.
extern "C" __global__ void block_votes(int n, const int *in, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, v = i < n ? in[i] : 0;
  int count = __syncthreads_count(v > 3), any = __syncthreads_or(v == 9), all = __syncthreads_and(v >= 0);
  if (threadIdx.x == 0) {
    out[3 * blockIdx.x] = count;
    out[3 * blockIdx.x + 1] = any != 0;
    out[3 * blockIdx.x + 2] = all != 0;
  }
}
