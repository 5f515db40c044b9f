// Dense and sparse linear algebra.

extern "C" __global__ void transpose_naive(int width, int height, const float *in, float *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < width && y < height) out[x * height + y] = in[y * width + x];
}

template <int PITCH> __device__ __forceinline__ void transpose_through_tile(int width, int height, const float *in, float *out) {
  __shared__ float tile[16][PITCH];
  int x = blockIdx.x * 16 + threadIdx.x;
  for (int k = threadIdx.y; k < 16; k += 8) {
    int y = blockIdx.y * 16 + k;
    if (x < width && y < height) tile[k][threadIdx.x] = in[y * width + x];
  }
  __syncthreads();
  x = blockIdx.y * 16 + threadIdx.x;
  for (int k = threadIdx.y; k < 16; k += 8) {
    int y = blockIdx.x * 16 + k;
    if (x < height && y < width) out[y * height + x] = tile[threadIdx.x][k];
  }
}

extern "C" __global__ void transpose_tiled(int width, int height, const float *in, float *out) {
  transpose_through_tile<16>(width, height, in, out);
}

extern "C" __global__ void transpose_padded(int width, int height, const float *in, float *out) {
  transpose_through_tile<17>(width, height, in, out);
}

extern "C" __global__ void matmul_naive(int m, int n, int k, const float *a, const float *b, float *c) {
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  if (row >= m || column >= n) return;
  float sum = 0;
  for (int i = 0; i < k; i++) sum += a[row * k + i] * b[i * n + column];
  c[row * n + column] = sum;
}

extern "C" __global__ void matmul_tiled(int m, int n, int k, const float *a, const float *b, float *c) {
  __shared__ float ta[16][16], tb[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, column = blockIdx.x * 16 + tx, row = blockIdx.y * 16 + ty;
  float sum = 0;
  for (int at = 0; at < k; at += 16) {
    ta[ty][tx] = row < m && at + tx < k ? a[row * k + at + tx] : 0;
    tb[ty][tx] = at + ty < k && column < n ? b[(at + ty) * n + column] : 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; i++) sum += ta[ty][i] * tb[i][tx];
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}

// The size of the tile is the block's, known when the kernel runs.
extern "C" __global__ void matmul_runtime_tile(int n, const int *a, const int *b, int *c) {
  extern __shared__ int tiles[];
  int size = blockDim.x, tx = threadIdx.x, ty = threadIdx.y;
  int *ta = tiles, *tb = tiles + size * size;
  int column = blockIdx.x * size + tx, row = blockIdx.y * size + ty, sum = 0;
  for (int at = 0; at < n; at += size) {
    ta[ty * size + tx] = row < n && at + tx < n ? a[row * n + at + tx] : 0;
    tb[ty * size + tx] = at + ty < n && column < n ? b[(at + ty) * n + column] : 0;
    __syncthreads();
    for (int i = 0; i < size; i++) sum += ta[ty * size + i] * tb[i * size + tx];
    __syncthreads();
  }
  if (row < n && column < n) c[row * n + column] = sum;
}

// Double precision, with two rows of the product in each thread.
extern "C" __global__ void dgemm(int m, int n, int k, double alpha, const double *a, const double *b, double beta, double *c) {
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = 2 * (blockIdx.y * blockDim.y + threadIdx.y);
  if (column >= n) return;
  double sum[2] = {0, 0};
  for (int i = 0; i < k; i++)
    for (int r = 0; r < 2; r++)
      if (row + r < m) sum[r] += a[(row + r) * k + i] * b[i * n + column];
  for (int r = 0; r < 2; r++)
    if (row + r < m) c[(row + r) * n + column] = alpha * sum[r] + beta * c[(row + r) * n + column];
}

// y = A' (A x), a thread for each row, then for each column.
extern "C" __global__ void atax_forward(int rows, int columns, const float *a, const float *x, float *t) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows) return;
  t[i] = 0;
  for (int j = 0; j < columns; j++) t[i] += a[i * columns + j] * x[j];
}

extern "C" __global__ void atax_backward(int rows, int columns, const float *a, const float *t, float *y) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= columns) return;
  y[j] = 0;
  for (int i = 0; i < rows; i++) y[j] += a[i * columns + j] * t[i];
}

// Both products of a step of the biconjugate gradient method: s = A' r and q = A p.
extern "C" __global__ void bicg(int rows, int columns, const float *a, const float *r, float *s, const float *p, float *q) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < columns) {
    float sum = 0;
    for (int k = 0; k < rows; k++) sum += a[k * columns + i] * r[k];
    s[i] = sum;
  }
  if (i < rows) {
    float sum = 0;
    for (int k = 0; k < columns; k++) sum += a[i * columns + k] * p[k];
    q[i] = sum;
  }
}

extern "C" __global__ void mvt(int n, const double *a, double *x1, double *x2, const double *y1, const double *y2) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  for (int k = 0; k < n; k++) {
    x1[i] += a[i * n + k] * y1[k];
    x2[i] += a[k * n + i] * y2[k];
  }
}

// A += u1 v1' + u2 v2', then x = beta A' y + z, then w = alpha A x.
extern "C" __global__ void gemver_update(int n, double *a, const double *u1, const double *v1, const double *u2, const double *v2) {
  int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i < n && j < n) a[i * n + j] += u1[i] * v1[j] + u2[i] * v2[j];
}

extern "C" __global__ void gemver_transposed(int n, double beta, const double *a, double *x, const double *y, const double *z) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double sum = 0;
  for (int j = 0; j < n; j++) sum += beta * a[j * n + i] * y[j];
  x[i] = sum + z[i];
}

extern "C" __global__ void gemver_product(int n, double alpha, const double *a, const double *x, double *w) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double sum = 0;
  for (int j = 0; j < n; j++) sum += alpha * a[i * n + j] * x[j];
  w[i] = sum;
}

// Gaussian elimination: the multipliers of column k, then all rows below.
extern "C" __global__ void eliminate_multipliers(int n, int k, const float *a, float *multipliers) {
  int i = blockIdx.x * blockDim.x + threadIdx.x + k + 1;
  if (i < n) multipliers[i] = a[i * (n + 1) + k] / a[k * (n + 1) + k];
}

extern "C" __global__ void eliminate_rows(int n, int k, float *a, const float *multipliers) {
  int j = blockIdx.x * blockDim.x + threadIdx.x + k, i = blockIdx.y * blockDim.y + threadIdx.y + k + 1;
  if (i < n && j <= n) a[i * (n + 1) + j] -= multipliers[i] * a[k * (n + 1) + j];
}

// Blocked LU decomposition without pivots: diagonal block, its row and column of blocks, the rest.
extern "C" __global__ void lud_diagonal(int n, int at, float *a) {
  __shared__ float s[16][16];
  int t = threadIdx.x;
  float *block = a + at * n + at;
  for (int i = 0; i < 16; i++) s[i][t] = block[i * n + t];
  __syncthreads();
  for (int k = 0; k < 15; k++) {
    if (t > k) {
      s[t][k] /= s[k][k];
      for (int j = k + 1; j < 16; j++) s[t][j] -= s[t][k] * s[k][j];
    }
    __syncthreads();
  }
  for (int i = 0; i < 16; i++) block[i * n + t] = s[i][t];
}

extern "C" __global__ void lud_perimeter(int n, int at, float *a) {
  __shared__ float diagonal[16][16], row[16][16], column[16][16];
  int t = threadIdx.x & 15, other = at + 16 * (blockIdx.x + 1);
  bool first_half = threadIdx.x < 16;
  for (int i = 0; i < 16; i++) {
    if (first_half) {
      diagonal[i][t] = a[(at + i) * n + at + t];
      row[i][t] = a[(at + i) * n + other + t];
    } else {
      column[i][t] = a[(other + i) * n + at + t];
    }
  }
  __syncthreads();
  if (first_half) {
    for (int i = 1; i < 16; i++)
      for (int k = 0; k < i; k++) row[i][t] -= diagonal[i][k] * row[k][t];
  } else {
    for (int j = 0; j < 16; j++) {
      for (int k = 0; k < j; k++) column[t][j] -= column[t][k] * diagonal[k][j];
      column[t][j] /= diagonal[j][j];
    }
  }
  __syncthreads();
  for (int i = 0; i < 16; i++) {
    if (first_half) a[(at + i) * n + other + t] = row[i][t];
    else a[(other + i) * n + at + t] = column[i][t];
  }
}

extern "C" __global__ void lud_internal(int n, int at, float *a) {
  __shared__ float row[16][16], column[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, x = at + 16 * (blockIdx.x + 1) + tx, y = at + 16 * (blockIdx.y + 1) + ty;
  row[ty][tx] = a[(at + ty) * n + x];
  column[ty][tx] = a[y * n + at + tx];
  __syncthreads();
  float sum = 0;
  for (int k = 0; k < 16; k++) sum += column[ty][k] * row[k][tx];
  a[y * n + x] -= sum;
}

// Compressed sparse rows: a thread, and a warp, for each row.
extern "C" __global__ void spmv_scalar(int rows, const int *starts, const int *columns, const float *values, const float *x, float *y) {
  int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  float sum = 0;
  for (int i = starts[row]; i < starts[row + 1]; i++) sum += values[i] * x[columns[i]];
  y[row] = sum;
}

extern "C" __global__ void spmv_vector(int rows, const int *__restrict__ starts, const int *__restrict__ columns,
                                       const float *__restrict__ values, const float *__restrict__ x, float *y) {
  int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x & 31;
  if (row >= rows) return;
  float sum = 0;
  for (int i = starts[row] + lane; i < starts[row + 1]; i += 32) sum += values[i] * x[columns[i]];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
  if (lane == 0) y[row] = sum;
}

// Padded rows, stored column by column.
extern "C" __global__ void spmv_ell(int rows, int width, const int *columns, const double *values, const double *x, double *y) {
  int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  double sum = 0;
  for (int k = 0; k < width; k++) {
    int column = columns[k * rows + row];
    if (column < 0) break;
    sum += values[k * rows + row] * x[column];
  }
  y[row] = sum;
}

// A triangular system by forward substitution, a block for each right side.
extern "C" __global__ void solve_lower(int n, const double *l, double *b) {
  double *mine = b + blockIdx.x * n;
  for (int k = 0; k < n; k++) {
    if (threadIdx.x == 0) mine[k] /= l[k * n + k];
    __syncthreads();
    for (int i = k + 1 + threadIdx.x; i < n; i += blockDim.x) mine[i] -= l[i * n + k] * mine[k];
    __syncthreads();
  }
}
