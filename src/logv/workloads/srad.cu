// Speckle reducing anisotropic diffusion (Yu and Acton, 2002): smooths where an image varies as
// speckle does and keeps its edges. All fields carry a ring of ghost cells, one pixel wide, that
// repeats their border; `pitch` is the distance of rows, and a field's pointer names its first ghost.

#define THREADS 256
#define STRIP 8

// One partial sum, and one of squares, for each block of THREADS columns and STRIP rows.
extern "C" __global__ void partial_sums(const float *image, int pitch, float *sums, float *squares)
{
    __shared__ float sum[THREADS];
    __shared__ float square[THREADS];

    int thread = threadIdx.x;
    int at = (blockIdx.y * STRIP + 1) * pitch + blockIdx.x * THREADS + thread + 1;
    float s = 0.0f;
    float q = 0.0f;
#pragma unroll
    for (int i = 0; i < STRIP; ++i) {
        float value = image[at + i * pitch];
        s += value;
        q += value * value;
    }
    sum[thread] = s;
    square[thread] = q;
    __syncthreads();

    for (int half = THREADS / 2; half > 0; half >>= 1) {
        if (thread < half) {
            sum[thread] += sum[thread + half];
            square[thread] += square[thread + half];
        }
        __syncthreads();
    }
    if (thread == 0) {
        int block = blockIdx.y * gridDim.x + blockIdx.x;
        sums[block] = sum[0];
        squares[block] = square[0];
    }
}

// The speckle scale: variance over squared mean of the whole image. One block; `count` partial sums.
extern "C" __global__ void speckle_scale(const float *sums, const float *squares, int count, float pixels,
                                         float *scale)
{
    __shared__ float sum[THREADS];
    __shared__ float square[THREADS];

    int thread = threadIdx.x;
    float s = 0.0f;
    float q = 0.0f;
    for (int i = thread; i < count; i += THREADS) {
        s += sums[i];
        q += squares[i];
    }
    sum[thread] = s;
    square[thread] = q;
    __syncthreads();

    for (int half = THREADS / 2; half > 0; half >>= 1) {
        if (thread < half) {
            sum[thread] += sum[thread + half];
            square[thread] += square[thread + half];
        }
        __syncthreads();
    }
    if (thread == 0) {
        float mean = sum[0] / pixels;
        float variance = square[0] / pixels - mean * mean;
        scale[0] = variance / (mean * mean);
    }
}

// How freely each pixel diffuses: 1 in plain speckle, near 0 on an edge.
extern "C" __global__ void coefficients(const float *image, float *coefficient, int pitch, const float *scale)
{
    int at = (blockIdx.y + 1) * pitch + blockIdx.x * THREADS + threadIdx.x + 1;
    float q0 = scale[0];
    float here = image[at];
    float north = image[at - pitch] - here;
    float south = image[at + pitch] - here;
    float west = image[at - 1] - here;
    float east = image[at + 1] - here;

    float gradient = (north * north + south * south + west * west + east * east) / (here * here);
    float laplacian = (north + south + west + east) / here;
    float spread = 1.0f + 0.25f * laplacian;
    float q = (0.5f * gradient - 0.0625f * laplacian * laplacian) / (spread * spread);
    float c = 1.0f / (1.0f + (q - q0) / (q0 * (1.0f + q0)));
    coefficient[at] = fminf(fmaxf(c, 0.0f), 1.0f);
}

// One step of the diffusion, from `image` into `next`.
extern "C" __global__ void diffuse(const float *image, const float *coefficient, float *next, int pitch,
                                   float rate)
{
    int at = (blockIdx.y + 1) * pitch + blockIdx.x * THREADS + threadIdx.x + 1;
    float here = image[at];
    float c = coefficient[at];
    float divergence = c * (image[at - pitch] - here) + coefficient[at + pitch] * (image[at + pitch] - here)
                     + c * (image[at - 1] - here) + coefficient[at + 1] * (image[at + 1] - here);
    next[at] = here + 0.25f * rate * divergence;
}

// Repeats a field's border in its ghost cells.
extern "C" __global__ void mirror_border(float *field, int width, int height, int pitch)
{
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < width) {
        field[i + 1] = field[pitch + i + 1];
        field[(height + 1) * pitch + i + 1] = field[height * pitch + i + 1];
    }
    if (i < height) {
        field[(i + 1) * pitch] = field[(i + 1) * pitch + 1];
        field[(i + 1) * pitch + width + 1] = field[(i + 1) * pitch + width];
    }
}
