// Integers: hashes, random numbers, number theory, bits and narrow types.
typedef unsigned char uint8;
typedef unsigned int uint32;
typedef unsigned long long uint64;

__constant__ uint32 round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

__device__ __forceinline__ uint32 rotated(uint32 value, int bits) { return __funnelshift_r(value, value, bits); }

// SHA-256 of messages below 56 bytes: one padded block for each thread.
extern "C" __global__ void sha256(int n, int length, const uint8 *messages, uint32 *digests) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint32 w[64];
  for (int k = 0; k < 16; k++) {
    uint32 word = 0;
    for (int b = 0; b < 4; b++) {
      int at = 4 * k + b;
      word = word << 8 | (at < length ? messages[i * length + at] : at == length ? 0x80 : 0);
    }
    w[k] = word;
  }
  w[15] = length * 8;
  for (int k = 16; k < 64; k++) {
    uint32 s0 = rotated(w[k - 15], 7) ^ rotated(w[k - 15], 18) ^ (w[k - 15] >> 3);
    uint32 s1 = rotated(w[k - 2], 17) ^ rotated(w[k - 2], 19) ^ (w[k - 2] >> 10);
    w[k] = w[k - 16] + s0 + w[k - 7] + s1;
  }
  const uint32 start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint32 a = start[0], b = start[1], c = start[2], d = start[3], e = start[4], f = start[5], g = start[6], h = start[7];
  for (int k = 0; k < 64; k++) {
    uint32 t1 = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + round_constants[k] + w[k];
    uint32 t2 = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  uint32 end[8] = {a, b, c, d, e, f, g, h};
  for (int k = 0; k < 8; k++) digests[i * 8 + k] = start[k] + end[k];
}

// CRC-32 by a table that each block builds in shared memory.
extern "C" __global__ void crc32(int n, int length, const uint8 *data, uint32 *out) {
  __shared__ uint32 table[256];
  for (int k = threadIdx.x; k < 256; k += blockDim.x) {
    uint32 value = k;
    for (int bit = 0; bit < 8; bit++) value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
    table[k] = value;
  }
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint32 crc = ~0u;
  for (int k = 0; k < length; k++) crc = crc >> 8 ^ table[(crc ^ data[i * length + k]) & 255];
  out[i] = ~crc;
}

// 64-bit FNV-1a over strings that end in zero.
extern "C" __global__ void fnv1a(int n, const int *starts, const char *text, uint64 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64 hash = 0xcbf29ce484222325ull;
  for (const char *p = text + starts[i]; *p; p++) hash = (hash ^ (uint8)*p) * 0x100000001b3ull;
  out[i] = hash;
}

extern "C" __global__ void xorshift(int n, int rounds, uint64 *state, uint32 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64 x = state[i];
  for (int k = 0; k < rounds; k++) {
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    out[k * n + i] = x * 0x2545f4914f6cdd1dull >> 32;
  }
  state[i] = x;
}

// The Mersenne twister: a block renews the state of 624 words in three steps, then tempers.
extern "C" __global__ void mersenne_twister(const uint32 *in, uint32 *state, uint32 *out) {
  __shared__ uint32 s[624];
  int t = threadIdx.x;
  for (int k = t; k < 624; k += blockDim.x) s[k] = in[blockIdx.x * 624 + k];
  for (int begin = 0; begin < 623; begin += 227) {
    int k = begin + t;
    __syncthreads();
    uint32 next = 0;
    bool mine = t < 227 && k < 623;
    if (mine) {
      uint32 y = (s[k] & 0x80000000u) | (s[k + 1] & 0x7fffffffu);
      next = s[(k + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    __syncthreads();
    if (mine) s[k] = next;
  }
  __syncthreads();
  if (t == 0) {
    uint32 y = (s[623] & 0x80000000u) | (s[0] & 0x7fffffffu);
    s[623] = s[396] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
  }
  __syncthreads();
  for (int k = t; k < 624; k += blockDim.x) {
    uint32 y = s[k];
    state[blockIdx.x * 624 + k] = y;
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    out[blockIdx.x * 624 + k] = y ^ y >> 18;
  }
}

// Philox 4x32, ten rounds: random numbers as a function of counter and key.
extern "C" __global__ void philox(int n, uint2 key, uint4 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint4 c = make_uint4(i, 0, 7, 0);
  for (int k = 0; k < 10; k++) {
    uint32 high0 = __umulhi(0xd2511f53u, c.x), low0 = 0xd2511f53u * c.x;
    uint32 high1 = __umulhi(0xcd9e8d57u, c.z), low1 = 0xcd9e8d57u * c.z;
    c = make_uint4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
    key.x += 0x9e3779b9u;
    key.y += 0xbb67ae85u;
  }
  out[i] = c;
}

// Longest path to one of all starts below n.
extern "C" __global__ void collatz_longest(int n, int *longest) {
  int best = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x + 1; i <= n; i += gridDim.x * blockDim.x) {
    uint64 value = i;
    int steps = 0;
    for (; value != 1; steps++) value = value % 2 ? 3 * value + 1 : value / 2;
    best = max(best, steps);
  }
  atomicMax(longest, best);
}

// A segmented sieve: a bit in shared memory for each number.
extern "C" __global__ void prime_sieve(int n, const int *primes, int count, int *total) {
  __shared__ uint32 crossed[64];
  int low = blockIdx.x * 2048;
  if (threadIdx.x < 64) crossed[threadIdx.x] = 0;
  __syncthreads();
  for (int k = threadIdx.x; k < count; k += blockDim.x) {
    int p = primes[k];
    for (int m = max(p * p, (low + p - 1) / p * p); m < low + 2048; m += p) atomicOr(&crossed[(m - low) / 32], 1u << (m - low) % 32);
  }
  __syncthreads();
  int found = 0;
  for (int k = threadIdx.x; k < 2048; k += blockDim.x)
    if (low + k >= 2 && low + k < n) found += !(crossed[k / 32] >> k % 32 & 1);
  if (found) atomicAdd(total, found);
}

__device__ uint64 multiply_modulo(uint64 a, uint64 b, uint64 m) {
  uint64 result = 0;
  for (; b; b >>= 1) {
    if (b & 1) result = result >= m - a ? result - (m - a) : result + a;
    a = a >= m - a ? a - (m - a) : a + a;
  }
  return result;
}

extern "C" __global__ void power_modulo(int n, const uint64 *base, const uint64 *exponent, uint64 m, uint64 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64 result = 1, factor = base[i] % m;
  for (uint64 e = exponent[i]; e; e >>= 1) {
    if (e & 1) result = multiply_modulo(result, factor, m);
    factor = multiply_modulo(factor, factor, m);
  }
  out[i] = result;
}

extern "C" __global__ void greatest_divisor(int n, const long long *a, const long long *b, long long *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  long long x = a[i] < 0 ? -a[i] : a[i], y = b[i] < 0 ? -b[i] : b[i];
  while (y) {
    long long rest = x % y;
    x = y;
    y = rest;
  }
  out[i] = x;
}

// Sums of numbers of 256 bits, with carries.
extern "C" __global__ void wide_add(int n, const uint32 *a, const uint32 *b, uint32 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64 carry = 0;
  for (int k = 0; k < 8; k++) {
    carry += (uint64)a[k * n + i] + b[k * n + i];
    out[k * n + i] = (uint32)carry;
    carry >>= 32;
  }
  out[8 * n + i] = (uint32)carry;
}

extern "C" __global__ void bit_functions(int n, const uint32 *in, const uint32 *selectors, uint32 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint32 v = in[i], s = selectors[i];
  out[i] = __popc(v);
  out[n + i] = __clz(v);
  out[2 * n + i] = __brev(v);
  out[3 * n + i] = __ffs(v);
  out[4 * n + i] = __byte_perm(v, ~v, s);
  out[5 * n + i] = __funnelshift_l(v, s, s);
  out[6 * n + i] = (v & s) ^ (v | ~s);
  out[7 * n + i] = __vadd4(v, s);
}

extern "C" __global__ void bit_functions_64(int n, const uint64 *in, uint64 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint64 v = in[i];
  out[i] = __popcll(v);
  out[n + i] = __clzll(v);
  out[2 * n + i] = __brevll(v);
  out[3 * n + i] = __ffsll(v);
  out[4 * n + i] = __umul64hi(v, v ^ 0x123456789abcdefull);
  out[5 * n + i] = v << (v & 63) | v >> (64 - (v & 63)) % 64;
}

// Products of signed and unsigned bytes, four at a time.
extern "C" __global__ void byte_products(int rows, int words, const int *a, const int *b, int *out, unsigned *unsigned_out) {
  int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  int sum = 0;
  unsigned unsigned_sum = 0;
  for (int k = 0; k < words; k++) {
    sum = __dp4a(a[row * words + k], b[k], sum);
    unsigned_sum = __dp4a((unsigned)a[row * words + k], (unsigned)b[k], unsigned_sum);
  }
  out[row] = sum;
  unsigned_out[row] = unsigned_sum;
}

// Saturating and wrapping arithmetic of 8 and 16 bits.
extern "C" __global__ void narrow_arithmetic(int n, const uint8 *a, const short *b, uint8 *bytes, short *words, signed char *chars) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int sum = a[i] + b[i];
  bytes[i] = sum < 0 ? 0 : sum > 255 ? 255 : sum;
  words[i] = (short)(b[i] * a[i]) >> 3;
  chars[i] = (signed char)(a[i] + (signed char)b[i]) / 3;
}

// Divisions and shifts of all kinds, by values that are known and by values that are not.
extern "C" __global__ void divisions(int n, const int *a, const int *b, int *out, long long *wide) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int x = a[i], y = b[i];
  out[i] = x / y;
  out[n + i] = x % y;
  out[2 * n + i] = x / 7 + (unsigned)x / 10u + x % 16;
  out[3 * n + i] = (x >> (y & 31)) ^ (int)((unsigned)x >> (y & 31)) ^ x << (y & 31);
  out[4 * n + i] = __mulhi(x, y) + __mul24(x & 0xffff, y & 0xffff);
  wide[i] = ((long long)x << 20) / y;
  wide[n + i] = ((long long)x << 20) % y + (long long)x * y;
}
