// Physics, finance, transforms and machine learning.

extern "C" __global__ void nbody(int n, float dt, float softening, const float4 *in, float4 *out, float3 *velocity) {
  __shared__ float4 tile[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  float4 mine = i < n ? in[i] : make_float4(0, 0, 0, 0);
  float ax = 0, ay = 0, az = 0;
  for (int at = 0; at < n; at += 64) {
    tile[threadIdx.x] = at + threadIdx.x < n ? in[at + threadIdx.x] : make_float4(0, 0, 0, 0);
    __syncthreads();
    for (int k = 0; k < 64; k++) {
      float dx = tile[k].x - mine.x, dy = tile[k].y - mine.y, dz = tile[k].z - mine.z;
      float inverse = rsqrtf(dx * dx + dy * dy + dz * dz + softening), s = tile[k].w * inverse * inverse * inverse;
      ax += dx * s;
      ay += dy * s;
      az += dz * s;
    }
    __syncthreads();
  }
  if (i >= n) return;
  float3 v = velocity[i];
  v.x += dt * ax;
  v.y += dt * ay;
  v.z += dt * az;
  velocity[i] = v;
  out[i] = make_float4(mine.x + dt * v.x, mine.y + dt * v.y, mine.z + dt * v.z, mine.w);
}

// Particles in boxes: each box's block meets its neighbours' particles, box by box.
struct Neighbours { int count, box[7]; };

extern "C" __global__ void lava_md(int per_box, float alpha, const Neighbours *boxes, const float4 *position, const float *charge, float4 *force) {
  __shared__ float4 other[48];
  __shared__ float q[48];
  int box = blockIdx.x, t = threadIdx.x;
  float4 mine = position[box * per_box + t], sum = {0, 0, 0, 0};
  for (int k = 0; k < boxes[box].count; k++) {
    int neighbour = boxes[box].box[k];
    __syncthreads();
    other[t] = position[neighbour * per_box + t];
    q[t] = charge[neighbour * per_box + t];
    __syncthreads();
    for (int j = 0; j < per_box; j++) {
      float dx = mine.x - other[j].x, dy = mine.y - other[j].y, dz = mine.z - other[j].z;
      float v = expf(-alpha * (dx * dx + dy * dy + dz * dz)), s = 2 * v * q[j];
      sum.w += q[j] * v;
      sum.x += s * dx;
      sum.y += s * dy;
      sum.z += s * dz;
    }
  }
  force[box * per_box + t] = sum;
}

// Fluxes through the faces of cells of an unstructured mesh (density, momentum, energy).
struct Momentum { float x, y; };

__device__ __forceinline__ float pressure(float density, Momentum m, float energy) {
  return 0.4f * (energy - 0.5f * (m.x * m.x + m.y * m.y) / density);
}

extern "C" __global__ void euler_flux(int cells, const int *neighbours, const float *normals, const float *state, float *fluxes) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= cells) return;
  float density = state[i], energy = state[3 * cells + i];
  Momentum m = {state[cells + i], state[2 * cells + i]};
  float p = pressure(density, m, energy), speed = sqrtf(1.4f * p / density) + sqrtf(m.x * m.x + m.y * m.y) / density;
  float flux[4] = {0, 0, 0, 0};
  for (int face = 0; face < 3; face++) {
    int other = neighbours[face * cells + i];
    float nx = normals[2 * face * cells + i], ny = normals[(2 * face + 1) * cells + i];
    if (other < 0) {
      flux[1] += nx * p;
      flux[2] += ny * p;
      continue;
    }
    float od = state[other], oe = state[3 * cells + other];
    Momentum om = {state[cells + other], state[2 * cells + other]};
    float op = pressure(od, om, oe), os = sqrtf(1.4f * op / od) + sqrtf(om.x * om.x + om.y * om.y) / od;
    float area = sqrtf(nx * nx + ny * ny), viscosity = 0.5f * area * fmaxf(speed, os);
    float vn = (m.x * nx + m.y * ny) / density, on = (om.x * nx + om.y * ny) / od;
    flux[0] += 0.5f * (density * vn + od * on) + viscosity * (density - od);
    flux[1] += 0.5f * (m.x * vn + om.x * on + (p + op) * nx) + viscosity * (m.x - om.x);
    flux[2] += 0.5f * (m.y * vn + om.y * on + (p + op) * ny) + viscosity * (m.y - om.y);
    flux[3] += 0.5f * ((energy + p) * vn + (oe + op) * on) + viscosity * (energy - oe);
  }
  for (int k = 0; k < 4; k++) fluxes[k * cells + i] = flux[k];
}

__device__ __forceinline__ float normal_cdf(float d) {
  float k = 1 / (1 + 0.2316419f * fabsf(d));
  float tail = 0.39894228f * __expf(-0.5f * d * d) *
               (k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f)))));
  return d > 0 ? 1 - tail : tail;
}

extern "C" __global__ void black_scholes(int n, const float *price, const float *strike, const float *years, float rate, float sigma, float *call, float *put) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    float root = sqrtf(years[i]), d1 = (__logf(price[i] / strike[i]) + (rate + 0.5f * sigma * sigma) * years[i]) / (sigma * root);
    float n1 = normal_cdf(d1), n2 = normal_cdf(d1 - sigma * root), discounted = strike[i] * __expf(-rate * years[i]);
    call[i] = price[i] * n1 - discounted * n2;
    put[i] = discounted * (1 - n2) - price[i] * (1 - n1);
  }
}

// A binomial tree folded in shared memory, a block for each option.
extern "C" __global__ void binomial_option(int steps, const double *price, double strike, double up, double discount, double probability, double *out) {
  extern __shared__ double value[];
  int t = threadIdx.x;
  for (int k = t; k <= steps; k += blockDim.x) value[k] = fmax(price[blockIdx.x] * pow(up, 2.0 * k - steps) - strike, 0.0);
  __syncthreads();
  for (int level = steps - 1; level >= 0; level--) {
    double folded[4];
    for (int k = t, r = 0; k <= level; k += blockDim.x, r++) folded[r] = discount * (probability * value[k + 1] + (1 - probability) * value[k]);
    __syncthreads();
    for (int k = t, r = 0; k <= level; k += blockDim.x, r++) value[k] = folded[r];
    __syncthreads();
  }
  if (t == 0) out[blockIdx.x] = value[0];
}

// Radix-2 transform of a block's 256 points, in bit-reversed order first.
extern "C" __global__ void fft_radix2(const float2 *in, float2 *out, float sign) {
  __shared__ float2 s[256];
  int t = threadIdx.x, base = blockIdx.x * 256;
  s[__brev(t) >> 24] = in[base + t];
  s[__brev(t + 128) >> 24] = in[base + t + 128];
  for (int half = 1; half < 256; half *= 2) {
    __syncthreads();
    int k = t & (half - 1), a = 2 * (t - k) + k, b = a + half;
    float sine, cosine;
    sincosf(sign * 3.14159265f * k / half, &sine, &cosine);
    float2 x = s[a], y = s[b], w = make_float2(y.x * cosine - y.y * sine, y.x * sine + y.y * cosine);
    s[a] = make_float2(x.x + w.x, x.y + w.y);
    s[b] = make_float2(x.x - w.x, x.y - w.y);
  }
  __syncthreads();
  out[base + t] = s[t];
  out[base + t + 128] = s[t + 128];
}

extern "C" __global__ void monte_carlo_pi(int samples, unsigned seed, unsigned *hits) {
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x, state = (i + 1) * 2654435761u ^ seed, inside = 0;
  for (int k = 0; k < samples; k++) {
    state = state * 1664525u + 1013904223u;
    unsigned x = state >> 17;
    state = state * 1664525u + 1013904223u;
    unsigned y = state >> 17;
    inside += x * x + y * y < 1u << 30;
  }
  atomicAdd(hits, inside);
}

// A layer of a network: products summed in a tree, then the logistic function.
extern "C" __global__ void layer_forward(int inputs, int outputs, const float *x, const float *weights, float *hidden) {
  __shared__ float s[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, output = blockIdx.x * 16 + tx;
  float sum = 0;
  for (int i = ty; i < inputs; i += 16)
    if (output < outputs) sum += x[i] * weights[i * outputs + output];
  s[ty][tx] = sum;
  __syncthreads();
  for (int half = 8; half > 0; half >>= 1) {
    if (ty < half) s[ty][tx] += s[ty + half][tx];
    __syncthreads();
  }
  if (ty == 0 && output < outputs) hidden[output] = 1 / (1 + expf(-s[0][tx]));
}

extern "C" __global__ void adjust_weights(int inputs, int outputs, const float *delta, const float *x, float *weights, float *previous) {
  int output = blockIdx.x * blockDim.x + threadIdx.x, input = blockIdx.y * blockDim.y + threadIdx.y;
  if (output >= outputs || input >= inputs) return;
  int i = input * outputs + output;
  float change = 0.3f * delta[output] * x[input] + 0.3f * previous[i];
  weights[i] += change;
  previous[i] = change;
}

extern "C" __global__ void gelu(int n, const float *in, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = 0.5f * in[i] * (1 + tanhf(0.7978845608f * (in[i] + 0.044715f * in[i] * in[i] * in[i])));
}

// Adam, with pointers that do not alias and structures by value.
struct Adam { float rate, beta1, beta2, epsilon; int step; };

extern "C" __global__ void adam_step(int n, Adam p, const float *__restrict__ gradient, float *__restrict__ m, float *__restrict__ v, float *__restrict__ weights) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float g = gradient[i];
  m[i] = p.beta1 * m[i] + (1 - p.beta1) * g;
  v[i] = p.beta2 * v[i] + (1 - p.beta2) * g * g;
  float corrected_m = m[i] / (1 - powf(p.beta1, p.step)), corrected_v = v[i] / (1 - powf(p.beta2, p.step));
  weights[i] -= p.rate * corrected_m / (sqrtf(corrected_v) + p.epsilon);
}
