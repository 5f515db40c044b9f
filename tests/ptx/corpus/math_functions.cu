// The mathematical functions of CUDA: one kernel for each group, a row of results for each function.
#define FLOAT_ROWS(NAME, ...)                                                                              \
  extern "C" __global__ void NAME(int n, const float *in, const float *other, float *out) {                \
    int i = blockIdx.x * blockDim.x + threadIdx.x;                                                         \
    if (i >= n) return;                                                                                    \
    float x = in[i], y = other[i];                                                                         \
    float rows[] = {__VA_ARGS__};                                                                          \
    for (int k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) out[k * n + i] = rows[k];                     \
  }
#define DOUBLE_ROWS(NAME, ...)                                                                             \
  extern "C" __global__ void NAME(int n, const double *in, const double *other, double *out) {             \
    int i = blockIdx.x * blockDim.x + threadIdx.x;                                                         \
    if (i >= n) return;                                                                                    \
    double x = in[i], y = other[i];                                                                        \
    double rows[] = {__VA_ARGS__};                                                                         \
    for (int k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) out[k * n + i] = rows[k];                     \
  }

FLOAT_ROWS(float_exponentials, expf(x), exp2f(x), exp10f(x / 4), expm1f(x), logf(y), log2f(y), log10f(y), log1pf(y))
FLOAT_ROWS(float_trigonometry, sinf(x), cosf(x), tanf(x), asinf(y), acosf(y), atanf(x), atan2f(y, x), sinpif(x), cospif(x))
FLOAT_ROWS(float_large_arguments, sinf(x), cosf(x), tanf(y))
FLOAT_ROWS(float_hyperbolic, sinhf(x), coshf(x), tanhf(x), asinhf(x), acoshf(1 + y), atanhf(x / 16))
FLOAT_ROWS(float_powers, powf(y, x), rsqrtf(y), sqrtf(y), cbrtf(x), rcbrtf(y), hypotf(x, y), 1 / y, x / y)
FLOAT_ROWS(float_special, erff(x), erfcf(x), erfinvf(x / 16), lgammaf(y), tgammaf(y), normcdff(x))
FLOAT_ROWS(float_rounding, floorf(x), ceilf(x), truncf(x), rintf(x), roundf(x), fmodf(x, y), remainderf(x, y), fdimf(x, y),
           fminf(x, y), fmaxf(x, y), copysignf(y, x), nextafterf(x, y), ldexpf(x, 5), scalbnf(y, -130), fmaf(x, y, x), logbf(y))
FLOAT_ROWS(float_intrinsics, __expf(x), __logf(y), __sinf(x / 4), __cosf(x / 4), __powf(y, 1.5f), __fdividef(x, y), __frsqrt_rn(y),
           __saturatef(x), __fsqrt_rn(y), __frcp_rn(y), __fdiv_rn(x, y))
DOUBLE_ROWS(double_exponentials, exp(x), exp2(x), expm1(x), log(y), log2(y), log10(y), log1p(y))
DOUBLE_ROWS(double_trigonometry, sin(x), cos(x), tan(x), asin(y), acos(y), atan(x), atan2(y, x))
DOUBLE_ROWS(double_powers, pow(y, x), sqrt(y), cbrt(x), hypot(x, y), rsqrt(y), sinh(x), cosh(x), tanh(x), asinh(x))
DOUBLE_ROWS(double_special, erf(x), erfc(x), lgamma(y), tgamma(y))
DOUBLE_ROWS(double_rounding, floor(x), ceil(x), trunc(x), rint(x), round(x), fmod(x, y), fmin(x, y), fmax(x, y), copysign(y, x),
            fma(x, y, x), ldexp(x, -7), 1 / y, x / y)

// Conversions between numbers of all kinds, in all directions.
extern "C" __global__ void conversions(int n, const float *in, const double *wide, int *out, long long *wide_out, float *floats) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float x = in[i];
  double y = wide[i];
  out[i] = (int)x;
  out[n + i] = (unsigned)fabsf(x);
  out[2 * n + i] = __float2int_rn(x);
  out[3 * n + i] = __float2int_ru(x);
  out[4 * n + i] = __float2int_rd(x);
  out[5 * n + i] = (int)y;
  out[6 * n + i] = __double2int_rn(y);
  out[7 * n + i] = (short)(int)x;
  out[8 * n + i] = (unsigned char)(int)fabs(y);
  wide_out[i] = (long long)(x * 1e9f);
  wide_out[n + i] = (long long)y;
  wide_out[2 * n + i] = __double2ll_rn(y * 1e6);
  wide_out[3 * n + i] = (unsigned long long)fabs(y);
  floats[i] = (float)y;
  floats[n + i] = (float)(int)wide_out[n + i];
  floats[2 * n + i] = (float)wide_out[2 * n + i];
  floats[3 * n + i] = __double2float_rz(y);
  floats[4 * n + i] = __ll2float_ru(wide_out[2 * n + i]);
}

// What is infinite, not a number, negative, or denormal.
extern "C" __global__ void classification(int n, const float *in, const double *wide, int *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float x = in[i];
  double y = wide[i];
  out[i] = isnan(x) | isinf(x) << 1 | isfinite(x) << 2 | (signbit(x) != 0) << 3 | (x < 0) << 4 | (x == 0) << 5 | (x != x) << 6 | !(x > 1) << 7;
  out[n + i] = (isnan(y) != 0) | (isinf(y) != 0) << 1 | (isfinite(y) != 0) << 2 | (signbit(y) != 0) << 3 | (y < 0) << 4 | (y == 0) << 5 | (y != y) << 6 | !(y > 1) << 7;
  out[2 * n + i] = __float_as_int(x + 0.0f);
}
