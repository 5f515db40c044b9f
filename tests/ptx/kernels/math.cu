// Arithmetic. PTX: nvcc -ptx -arch=compute_80 math.cu -o math.ptx
extern "C" __global__ void float_math(int n, const float *x, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i];
  float r[12] = {expf(v), logf(fabsf(v) + 1e-3f), sqrtf(fabsf(v)), rsqrtf(fabsf(v) + 1), __sinf(v), __cosf(v),
                 powf(fabsf(v) + 0.5f, 1.5f), tanhf(v), floorf(v), rintf(v), fmodf(v, 3.0f), atanf(v)};
  for (int k = 0; k < 12; k++) out[k * n + i] = r[k];
}
extern "C" __global__ void trigonometry(int n, const float *x, float *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { out[i] = sinf(x[i]); out[n + i] = cosf(x[i]); }
}
extern "C" __global__ void double_math(int n, const double *x, const double *y, double *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = x[i] / y[i]; out[n + i] = fma(x[i], y[i], 1.0); out[2 * n + i] = sqrt(fabs(x[i]));
  out[3 * n + i] = fmin(x[i], y[i]); out[4 * n + i] = (double)(long long)x[i]; out[5 * n + i] = exp(x[i] / 64);
}
extern "C" __global__ void integer_math(int n, const int *x, const int *y, long long *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int a = x[i], b = y[i];
  unsigned ua = a, ub = b;
  long long wa = ((long long)a << 31) ^ b, wb = b | 1;
  long long r[16] = {b ? a / b : 0, b ? a % b : 0, ub ? ua / ub : 0, ub ? ua % ub : 0, wa / wb, wa % wb,
                     __mulhi(a, b), __umulhi(ua, ub), __mul64hi(wa, wb), __popc(a), __clz(a), __brev(a),
                     __byte_perm(a, b, 0x3715), __funnelshift_l(ua, ub, 11), __ffs(a), min(a, b) - max(a, b)};
  for (int k = 0; k < 16; k++) out[k * (long long)n + i] = r[k];
}
