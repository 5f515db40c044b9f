// Gaussian pyramid with the edges of each level. All images are 8-bit planes, one for each colour,
// back to back. Outside the image its border repeats. blockIdx.z is the colour.

#define THREADS 64

// Binomial filter 1 4 6 4 1 along rows.
extern "C" __global__ void blur_rows(const unsigned char *in, unsigned char *out, int width, int height)
{
    __shared__ int tile[THREADS + 4];

    int x = blockIdx.x * THREADS + threadIdx.x;
    int thread = threadIdx.x;
    int row = (blockIdx.z * height + blockIdx.y) * width;

    tile[thread + 2] = in[row + min(x, width - 1)];
    if (thread < 2) {
        tile[thread] = in[row + max(x - 2, 0)];
        tile[thread + THREADS + 2] = in[row + min(x + THREADS, width - 1)];
    }
    __syncthreads();

    int sum = tile[thread] + 4 * tile[thread + 1] + 6 * tile[thread + 2] + 4 * tile[thread + 3]
            + tile[thread + 4];
    if (x < width)
        out[row + x] = (unsigned char)((sum + 8) >> 4);
}

// The same filter along columns.
extern "C" __global__ void blur_columns(const unsigned char *in, unsigned char *out, int width, int height)
{
    int x = blockIdx.x * THREADS + threadIdx.x;
    int y = blockIdx.y;
    int plane = blockIdx.z * height * width;
    int last = height - 1;

    if (x < width) {
        int sum = in[plane + max(y - 2, 0) * width + x] + 4 * in[plane + max(y - 1, 0) * width + x]
                + 6 * in[plane + y * width + x] + 4 * in[plane + min(y + 1, last) * width + x]
                + in[plane + min(y + 2, last) * width + x];
        out[plane + y * width + x] = (unsigned char)((sum + 8) >> 4);
    }
}

// Sobel: the sum of the absolute gradients along both axes, saturated.
extern "C" __global__ void sobel(const unsigned char *in, unsigned char *out, int width, int height)
{
    __shared__ int tile[3][THREADS + 2];

    int x = blockIdx.x * THREADS + threadIdx.x;
    int y = blockIdx.y;
    int thread = threadIdx.x;
    int plane = blockIdx.z * height * width;

#pragma unroll
    for (int i = 0; i < 3; ++i) {
        int row = plane + min(max(y + i - 1, 0), height - 1) * width;
        tile[i][thread + 1] = in[row + min(x, width - 1)];
        if (thread == 0) {
            tile[i][0] = in[row + max(x - 1, 0)];
            tile[i][THREADS + 1] = in[row + min(x + THREADS, width - 1)];
        }
    }
    __syncthreads();

    int west = tile[0][thread] + 2 * tile[1][thread] + tile[2][thread];
    int east = tile[0][thread + 2] + 2 * tile[1][thread + 2] + tile[2][thread + 2];
    int north = tile[0][thread] + 2 * tile[0][thread + 1] + tile[0][thread + 2];
    int south = tile[2][thread] + 2 * tile[2][thread + 1] + tile[2][thread + 2];
    if (x < width)
        out[plane + y * width + x] = (unsigned char)min(abs(east - west) + abs(south - north), 255);
}

// Every second pixel of every second row; `width` and `height` are those of `out`.
extern "C" __global__ void halve(const unsigned char *in, unsigned char *out, int width, int height,
                                 int in_width, int in_height)
{
    int x = blockIdx.x * THREADS + threadIdx.x;
    int y = blockIdx.y;
    if (x < width)
        out[(blockIdx.z * height + y) * width + x] = in[(blockIdx.z * in_height + 2 * y) * in_width + 2 * x];
}
