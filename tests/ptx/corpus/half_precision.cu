// Half precision, alone and in pairs, and bfloat16.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void half_axpy(int n, __half a, const __half *x, __half *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = __hfma(a, x[i], y[i]);
}

extern "C" __global__ void half_arithmetic(int n, const __half *x, const __half *y, __half *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = __hadd(x[i], y[i]);
  out[n + i] = __hsub(x[i], y[i]);
  out[2 * n + i] = __hmul(x[i], y[i]);
  out[3 * n + i] = __hneg(x[i]);
  out[4 * n + i] = __habs(x[i]);
  out[5 * n + i] = __hlt(x[i], y[i]) ? x[i] : y[i];
  out[6 * n + i] = __hmax(x[i], y[i]);
  out[7 * n + i] = __hdiv(x[i], y[i]);
}

// Products of pairs, with a sum in single precision.
extern "C" __global__ void half2_dot(int n, const __half2 *x, const __half2 *y, float *out) {
  __shared__ float s[64];
  float sum = 0;
  for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += gridDim.x * 64) {
    float2 product = __half22float2(__hmul2(x[i], y[i]));
    sum += product.x + product.y;
  }
  s[threadIdx.x] = sum;
  for (int half = 32; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = s[0];
}

extern "C" __global__ void half2_polynomial(int n, const __half2 *x, __half2 *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  __half2 sum = __float2half2_rn(0.25f);
  sum = __hfma2(sum, x[i], __floats2half2_rn(-0.5f, 1.5f));
  out[i] = __hfma2(sum, x[i], __lowhigh2highlow(x[i]));
}

extern "C" __global__ void half_conversions(int n, const float *in, const int *integers, __half *halves, float *floats, int *rounded) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  __half h = __float2half(in[i]);
  halves[i] = h;
  halves[n + i] = __int2half_rn(integers[i]);
  halves[2 * n + i] = __double2half((double)in[i] * 1.0001);
  floats[i] = __half2float(h);
  rounded[i] = __half2int_rz(h);
  rounded[n + i] = __half2int_rn(h);
}

// A matrix product with inputs in half precision.
extern "C" __global__ void half_matmul(int m, int n, int k, const __half *a, const __half *b, float *c) {
  __shared__ __half ta[16][16], tb[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, column = blockIdx.x * 16 + tx, row = blockIdx.y * 16 + ty;
  float sum = 0;
  for (int at = 0; at < k; at += 16) {
    ta[ty][tx] = row < m && at + tx < k ? a[row * k + at + tx] : __float2half(0);
    tb[ty][tx] = at + ty < k && column < n ? b[(at + ty) * n + column] : __float2half(0);
    __syncthreads();
    for (int i = 0; i < 16; i++) sum += __half2float(ta[ty][i]) * __half2float(tb[i][tx]);
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}

extern "C" __global__ void half_functions(int n, const __half *in, __half *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = hexp(in[i]);
  out[n + i] = hsqrt(__habs(in[i]));
  out[2 * n + i] = hrcp(in[i]);
  out[3 * n + i] = hfloor(in[i]);
  out[4 * n + i] = hlog(__habs(in[i]));
}

extern "C" __global__ void bfloat16_scale(int n, float factor, const __nv_bfloat16 *in, __nv_bfloat16 *out, float *wide) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = __bfloat162float(in[i]) * factor;
  out[i] = __float2bfloat16(v);
  out[n + i] = __hfma(in[i], in[i], in[i]);
  wide[i] = v;
}
