// Stencils and other kernels on grids.

extern "C" __global__ void jacobi_2d(int width, int height, const float *in, float *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < 1 || y < 1 || x >= width - 1 || y >= height - 1) return;
  int i = y * width + x;
  out[i] = 0.2f * (in[i] + in[i - 1] + in[i + 1] + in[i - width] + in[i + width]);
}

// Seven points; each thread walks along z with three planes in registers.
extern "C" __global__ void stencil_3d(int nx, int ny, int nz, float c0, float c1, const float *in, float *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < 1 || y < 1 || x >= nx - 1 || y >= ny - 1) return;
  int i = y * nx + x, plane = nx * ny;
  float below = in[i], here = in[i + plane];
  for (int z = 1; z < nz - 1; z++) {
    i += plane;
    float above = in[i + plane];
    out[i] = c1 * (below + above + in[i - 1] + in[i + 1] + in[i - nx] + in[i + nx]) - c0 * here;
    below = here;
    here = above;
  }
}

// Two rings of neighbours, through a tile with a halo.
extern "C" __global__ void stencil_halo(int n, const int *in, int *out) {
  __shared__ int s[96 + 4];
  int t = threadIdx.x, i = blockIdx.x * 96 + t;
  s[t + 2] = i < n ? in[i] : 0;
  if (t < 2) {
    s[t] = i >= 2 ? in[i - 2] : 0;
    s[98 + t] = i + 96 < n ? in[i + 96] : 0;
  }
  __syncthreads();
  int sum = 0;
#pragma unroll
  for (int k = -2; k <= 2; k++) sum += s[t + 2 + k] * (3 - (k < 0 ? -k : k));
  if (i < n) out[i] = sum;
}

// Temperature of a chip: several steps on a tile before it is written back.
extern "C" __global__ void hotspot(int width, int height, int steps, const float *power, const float *in, float *out) {
  __shared__ float now[16][16], next[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, inner = 16 - 2 * steps;
  int x = blockIdx.x * inner + tx - steps, y = blockIdx.y * inner + ty - steps;
  bool inside = x >= 0 && y >= 0 && x < width && y < height;
  now[ty][tx] = inside ? in[y * width + x] : 0;
  float heat = inside ? power[y * width + x] : 0;
  __syncthreads();
  int west = x > 0 ? tx - 1 : tx, east = x < width - 1 ? tx + 1 : tx;
  int north = y > 0 ? ty - 1 : ty, south = y < height - 1 ? ty + 1 : ty;
  for (int step = 1; step <= steps; step++) {
    if (inside && tx >= step && ty >= step && tx < 16 - step && ty < 16 - step) {
      float t = now[ty][tx];
      next[ty][tx] = t + 0.1f * (heat + (now[south][tx] + now[north][tx] - 2 * t) * 0.8f
                                 + (now[ty][east] + now[ty][west] - 2 * t) * 0.7f + (80 - t) * 0.05f);
    }
    __syncthreads();
    if (inside) now[ty][tx] = next[ty][tx];
    __syncthreads();
  }
  if (inside && tx >= steps && ty >= steps && tx < 16 - steps && ty < 16 - steps) out[y * width + x] = now[ty][tx];
}

// Speckle-reducing diffusion: coefficients, then the update.
extern "C" __global__ void srad_coefficients(int rows, int columns, float q0, const float *j, float *dn, float *ds, float *dw, float *de, float *c) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  int i = y * columns + x;
  float here = j[i];
  float n = j[max(y - 1, 0) * columns + x] - here, s = j[min(y + 1, rows - 1) * columns + x] - here;
  float w = j[y * columns + max(x - 1, 0)] - here, e = j[y * columns + min(x + 1, columns - 1)] - here;
  float g2 = (n * n + s * s + w * w + e * e) / (here * here), l = (n + s + w + e) / here;
  float numerator = 0.5f * g2 - (1.0f / 16) * l * l, denominator = 1 + 0.25f * l;
  float q = numerator / (denominator * denominator);
  float coefficient = 1 / (1 + (q - q0) / (q0 * (1 + q0)));
  dn[i] = n;
  ds[i] = s;
  dw[i] = w;
  de[i] = e;
  c[i] = __saturatef(coefficient);
}

extern "C" __global__ void srad_update(int rows, int columns, float lambda, float *j, const float *dn, const float *ds, const float *dw, const float *de, const float *c) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  int i = y * columns + x;
  float south = c[min(y + 1, rows - 1) * columns + x], east = c[y * columns + min(x + 1, columns - 1)];
  j[i] += 0.25f * lambda * (c[i] * dn[i] + south * ds[i] + c[i] * dw[i] + east * de[i]);
}

// Cheapest path through a grid from the top: several rows in one launch, with a shrinking tile.
extern "C" __global__ void pathfinder(int columns, int steps, int row, const int *wall, const int *in, int *out) {
  __shared__ int previous[64], result[64];
  int t = threadIdx.x, x = blockIdx.x * (64 - 2 * steps) + t - steps;
  bool inside = x >= 0 && x < columns;
  previous[t] = inside ? in[x] : 0x7fffffff;
  __syncthreads();
  for (int step = 1; step <= steps; step++) {
    if (t >= step && t < 64 - step && inside)
      result[t] = min(previous[t], min(previous[t - 1], previous[t + 1])) + wall[(row + step) * columns + x];
    else
      result[t] = 0x7fffffff;
    __syncthreads();
    previous[t] = result[t];
    __syncthreads();
  }
  if (t >= steps && t < 64 - steps && inside) out[x] = previous[t];
}

// Conway's rules on a torus.
extern "C" __global__ void game_of_life(int width, int height, const unsigned char *in, unsigned char *out) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  int alive = 0;
  for (int dy = -1; dy <= 1; dy++)
    for (int dx = -1; dx <= 1; dx++)
      if (dx || dy) alive += in[(y + dy + height) % height * width + (x + dx + width) % width];
  out[y * width + x] = alive == 3 || (alive == 2 && in[y * width + x]);
}

// Electric and magnetic fields in two dimensions, staggered.
extern "C" __global__ void fdtd_electric(int width, int height, float source, float *ex, float *ey, const float *hz) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  int i = y * width + x;
  if (y == 0) ey[i] = source;
  else ey[i] -= 0.5f * (hz[i] - hz[i - width]);
  if (x > 0) ex[i] -= 0.5f * (hz[i] - hz[i - 1]);
}

extern "C" __global__ void fdtd_magnetic(int width, int height, const float *ex, const float *ey, float *hz) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width - 1 || y >= height - 1) return;
  int i = y * width + x;
  hz[i] -= 0.7f * (ex[i + 1] - ex[i] + ey[i + width] - ey[i]);
}

// Streaming and collision of a lattice gas with nine velocities, periodic.
__constant__ int direction_x[9] = {0, 1, 0, -1, 0, 1, -1, -1, 1};
__constant__ int direction_y[9] = {0, 0, 1, 0, -1, 1, 1, -1, -1};
__constant__ float weight[9] = {4 / 9.0f, 1 / 9.0f, 1 / 9.0f, 1 / 9.0f, 1 / 9.0f, 1 / 36.0f, 1 / 36.0f, 1 / 36.0f, 1 / 36.0f};

extern "C" __global__ void lattice_boltzmann(int width, int height, float omega, const float *in, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= width * height) return;
  int x = i % width, y = i / width, cells = width * height;
  float f[9], density = 0, ux = 0, uy = 0;
  for (int k = 0; k < 9; k++) {
    int from_x = (x - direction_x[k] + width) % width, from_y = (y - direction_y[k] + height) % height;
    f[k] = in[k * cells + from_y * width + from_x];
    density += f[k];
    ux += f[k] * direction_x[k];
    uy += f[k] * direction_y[k];
  }
  ux /= density;
  uy /= density;
  float square = 1.5f * (ux * ux + uy * uy);
  for (int k = 0; k < 9; k++) {
    float along = 3 * (direction_x[k] * ux + direction_y[k] * uy);
    float equilibrium = weight[k] * density * (1 + along + 0.5f * along * along - square);
    out[k * cells + i] = f[k] + omega * (equilibrium - f[k]);
  }
}
