// Image processing.

__device__ __forceinline__ int clamped(int value, int count) { return min(max(value, 0), count - 1); }

extern "C" __global__ void sobel(int width, int height, const unsigned char *in, unsigned char *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  int p[3][3];
  for (int dy = 0; dy < 3; dy++)
    for (int dx = 0; dx < 3; dx++) p[dy][dx] = in[clamped(y + dy - 1, height) * width + clamped(x + dx - 1, width)];
  int gx = p[0][2] + 2 * p[1][2] + p[2][2] - p[0][0] - 2 * p[1][0] - p[2][0];
  int gy = p[2][0] + 2 * p[2][1] + p[2][2] - p[0][0] - 2 * p[0][1] - p[0][2];
  out[y * width + x] = min(abs(gx) + abs(gy), 255);
}

// The median of nine, by insertion into a sorted array of local memory.
extern "C" __global__ void median_3x3(int width, int height, const unsigned char *in, unsigned char *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  unsigned char sorted[9];
  for (int k = 0; k < 9; k++) {
    unsigned char value = in[clamped(y + k / 3 - 1, height) * width + clamped(x + k % 3 - 1, width)];
    int at = k;
    while (at > 0 && sorted[at - 1] > value) {
      sorted[at] = sorted[at - 1];
      at--;
    }
    sorted[at] = value;
  }
  out[y * width + x] = sorted[4];
}

extern "C" __global__ void bilateral(int width, int height, int radius, float space, float range, const float *in, float *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  float here = in[y * width + x], sum = 0, total = 0;
  for (int dy = -radius; dy <= radius; dy++) {
    for (int dx = -radius; dx <= radius; dx++) {
      float value = in[clamped(y + dy, height) * width + clamped(x + dx, width)], difference = value - here;
      float w = __expf(-(dx * dx + dy * dy) * space - difference * difference * range);
      sum += w * value;
      total += w;
    }
  }
  out[y * width + x] = sum / total;
}

// A running sum along each row.
extern "C" __global__ void box_blur_rows(int width, int height, int radius, const unsigned char *in, unsigned char *out) {
  int y = blockIdx.x * blockDim.x + threadIdx.x;
  if (y >= height) return;
  const unsigned char *row = in + y * width;
  unsigned sum = 0, size = 2 * radius + 1;
  for (int k = -radius; k <= radius; k++) sum += row[clamped(k, width)];
  for (int x = 0; x < width; x++) {
    out[y * width + x] = (sum + size / 2) / size;
    sum += row[clamped(x + radius + 1, width)] - row[clamped(x - radius, width)];
  }
}

__constant__ float taps[9] = {0.02f, 0.05f, 0.12f, 0.19f, 0.24f, 0.19f, 0.12f, 0.05f, 0.02f};

extern "C" __global__ void convolve_rows(int width, int height, const float *in, float *out) {
  __shared__ float s[4][64 + 8];
  int tx = threadIdx.x, ty = threadIdx.y, x0 = blockIdx.x * 64, y = blockIdx.y * 4 + ty;
  if (y < height)
    for (int k = tx; k < 72; k += 64) {
      int x = x0 + k - 4;
      s[ty][k] = x >= 0 && x < width ? in[y * width + x] : 0;
    }
  __syncthreads();
  if (x0 + tx >= width || y >= height) return;
  float sum = 0;
#pragma unroll
  for (int k = 0; k < 9; k++) sum += taps[8 - k] * s[ty][tx + k];
  out[y * width + x0 + tx] = sum;
}

extern "C" __global__ void convolve_columns(int width, int height, const float *in, float *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  float sum = 0;
  for (int k = -4; k <= 4; k++)
    if (y + k >= 0 && y + k < height) sum += taps[4 - k] * in[(y + k) * width + x];
  out[y * width + x] = sum;
}

// Several input and output channels; a filter of any size, at a stride.
extern "C" __global__ void convolve_channels(int channels, int height, int width, int size, int stride, const float *in, const float *filters, float *out) {
  int columns = (width - size) / stride + 1, rows = (height - size) / stride + 1;
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, filter = blockIdx.z;
  if (x >= columns || y >= rows) return;
  float sum = 0;
  for (int c = 0; c < channels; c++)
    for (int dy = 0; dy < size; dy++)
      for (int dx = 0; dx < size; dx++)
        sum += in[(c * height + y * stride + dy) * width + x * stride + dx] * filters[((filter * channels + c) * size + dy) * size + dx];
  out[(filter * rows + y) * columns + x] = sum;
}

extern "C" __global__ void max_pool(int height, int width, const float *in, float *out, unsigned char *choice) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y, columns = width / 2, rows = height / 2;
  if (x >= columns || y >= rows) return;
  const float2 *top = (const float2 *)(in + 2 * y * width) + x, *bottom = (const float2 *)(in + (2 * y + 1) * width) + x;
  float values[4] = {top->x, top->y, bottom->x, bottom->y};
  int best = 0;
  for (int k = 1; k < 4; k++)
    if (values[k] > values[best]) best = k;
  out[y * columns + x] = values[best];
  choice[y * columns + x] = best;
}

extern "C" __global__ void mandelbrot(int width, int height, float left, float top, float step, int limit, unsigned short *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  float cr = __fadd_rn(left, __fmul_rn(x, step)), ci = __fadd_rn(top, __fmul_rn(y, step)), zr = 0, zi = 0;
  int n = 0;
  for (; n < limit; n++) {
    float rr = __fmul_rn(zr, zr), ii = __fmul_rn(zi, zi);
    if (__fadd_rn(rr, ii) > 4) break;
    zi = __fadd_rn(__fmul_rn(__fmul_rn(2, zr), zi), ci);
    zr = __fadd_rn(__fsub_rn(rr, ii), cr);
  }
  out[y * width + x] = n;
}

// Several levels of the Haar wavelet transform of a block's row.
extern "C" __global__ void haar_levels(int levels, const float *in, float *out) {
  __shared__ float s[256];
  int t = threadIdx.x, base = blockIdx.x * 256;
  s[t] = in[base + t];
  s[t + 128] = in[base + t + 128];
  int size = 256;
  for (int level = 0; level < levels; level++, size /= 2) {
    __syncthreads();
    float low = 0, high = 0;
    if (t < size / 2) {
      low = (s[2 * t] + s[2 * t + 1]) * 0.70710678f;
      high = (s[2 * t] - s[2 * t + 1]) * 0.70710678f;
    }
    __syncthreads();
    if (t < size / 2) {
      s[t] = low;
      s[size / 2 + t] = high;
    }
  }
  __syncthreads();
  out[base + t] = s[t];
  out[base + t + 128] = s[t + 128];
}

// Grey values of packed pixels, in fixed point.
extern "C" __global__ void rgba_to_gray(int n, const uchar4 *in, unsigned char *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uchar4 p = in[i];
  out[i] = (p.x * 77 + p.y * 150 + p.z * 29 + 128) >> 8;
}

// Bilinear scaling to another size, with pixels of four floats.
extern "C" __global__ void resize_bilinear(int width, int height, const float4 *in, int columns, int rows, float4 *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  float sx = x * ((width - 1) / (float)(columns - 1)), sy = y * ((height - 1) / (float)(rows - 1));
  int x0 = min((int)sx, width - 2), y0 = min((int)sy, height - 2);
  float fx = sx - x0, fy = sy - y0;
  float4 a = in[y0 * width + x0], b = in[y0 * width + x0 + 1], c = in[(y0 + 1) * width + x0], d = in[(y0 + 1) * width + x0 + 1], r;
  r.x = (a.x * (1 - fx) + b.x * fx) * (1 - fy) + (c.x * (1 - fx) + d.x * fx) * fy;
  r.y = (a.y * (1 - fx) + b.y * fx) * (1 - fy) + (c.y * (1 - fx) + d.y * fx) * fy;
  r.z = (a.z * (1 - fx) + b.z * fx) * (1 - fy) + (c.z * (1 - fx) + d.z * fx) * fy;
  r.w = (a.w * (1 - fx) + b.w * fx) * (1 - fy) + (c.w * (1 - fx) + d.w * fx) * fy;
  out[y * columns + x] = r;
}

// Sums over all rectangles that start at the corner: a thread for each column, after a scan of the rows.
extern "C" __global__ void integral_columns(int width, int height, const unsigned short *in, unsigned long long *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x;
  if (x >= width) return;
  unsigned long long sum = 0;
  for (int y = 0; y < height; y++) {
    for (int k = 0; k <= x; k++) sum += in[y * width + k];
    out[y * width + x] = sum;
  }
}
