// Image kernels. PTX: nvcc -ptx -arch=compute_80 images.cu -o images.ptx
extern "C" __global__ void sobel(int w, int h, const unsigned char *in, unsigned char *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= w || y >= h) return;
  int xm = max(x - 1, 0), xp = min(x + 1, w - 1), ym = max(y - 1, 0), yp = min(y + 1, h - 1);
#define P(a, b) ((int)in[(b) * w + (a)])
  int gx = P(xp, ym) + 2 * P(xp, y) + P(xp, yp) - P(xm, ym) - 2 * P(xm, y) - P(xm, yp);
  int gy = P(xm, yp) + 2 * P(x, yp) + P(xp, yp) - P(xm, ym) - 2 * P(x, ym) - P(xp, ym);
  out[y * w + x] = min((int)sqrtf((float)(gx * gx + gy * gy)), 255);
}

// Rows of a separable Gaussian, from u8 through a shared tile; the halo is clamped.
extern "C" __global__ void gauss_rows(int w, int h, const unsigned char *in, float *out) {
  __shared__ float tile[8][32 + 4];
  int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
  int row = min(y, h - 1) * w;
  for (int i = threadIdx.x; i < 36; i += 32)
    tile[threadIdx.y][i] = in[row + min(max((int)blockIdx.x * 32 + i - 2, 0), w - 1)];
  __syncthreads();
  if (x >= w || y >= h) return;
  const float *t = &tile[threadIdx.y][threadIdx.x];
  out[y * w + x] = (t[0] + 4 * t[1] + 6 * t[2] + 4 * t[3] + t[4]) / 16.0f;
}

extern "C" __global__ void gauss_columns(int w, int h, const float *in, float *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= w || y >= h) return;
  const float k[5] = {1, 4, 6, 4, 1};
  float sum = 0;
  for (int i = -2; i <= 2; i++) sum += k[i + 2] * in[min(max(y + i, 0), h - 1) * w + x];
  out[y * w + x] = sum / 16.0f;
}

extern "C" __global__ void downsample(int w, int h, const float *in, unsigned char *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  int ow = w / 2, oh = h / 2;
  if (x >= ow || y >= oh) return;
  const float *p = in + 2 * y * w + 2 * x;
  out[y * ow + x] = (unsigned char)rintf((p[0] + p[1] + p[w] + p[w + 1]) * 0.25f);
}

// One SRAD step: diffusion coefficients (Yu and Acton, 2002).
extern "C" __global__ void srad_coefficients(int w, int h, float q0, const float *image, float *c) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= w || y >= h) return;
  float j = image[y * w + x];
  float dn = image[max(y - 1, 0) * w + x] - j, ds = image[min(y + 1, h - 1) * w + x] - j;
  float dw = image[y * w + max(x - 1, 0)] - j, de = image[y * w + min(x + 1, w - 1)] - j;
  float g2 = (dn * dn + ds * ds + dw * dw + de * de) / (j * j);
  float l = (dn + ds + dw + de) / j;
  float num = 0.5f * g2 - (1.0f / 16.0f) * l * l, den = 1 + 0.25f * l;
  float q = num / (den * den);
  float d = (q - q0) / (q0 * (1 + q0));
  c[y * w + x] = fminf(fmaxf(1.0f / (1.0f + d), 0.0f), 1.0f) * expf(-d * d) + sqrtf(j);
}

// Disparity by block matching, sum of absolute differences over a window.
extern "C" __global__ void stereo(int w, int h, int range, int radius, const unsigned char *left,
                                  const unsigned char *right, unsigned char *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= w || y >= h) return;
  int best = 0, best_cost = 1 << 30;
  for (int d = 0; d < range; d++) {
    int cost = 0;
    for (int j = -radius; j <= radius; j++)
      for (int i = -radius; i <= radius; i++) {
        int yy = min(max(y + j, 0), h - 1), xx = min(max(x + i, 0), w - 1), xr = max(xx - d, 0);
        cost += abs((int)left[yy * w + xx] - (int)right[yy * w + xr]);
      }
    if (cost < best_cost) { best_cost = cost; best = d; }
  }
  out[y * w + x] = best;
}
