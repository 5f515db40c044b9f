// Kernels that are timed against the same algorithms in numba (bench/numba_pairs.py): as they are mostly
// written, with bounds checks, for sizes known at run time.

#define TILE 16
#define THREADS 256
#define RADIUS 4
#define BINS 256

// Streaming.

extern "C" __global__ void vector_add(int n, const float *a, const float *b, float *c)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

extern "C" __global__ void scale(int n, float factor, const float *a, float *b)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        b[i] = factor * a[i];
}

// In strides of the grid.
extern "C" __global__ void triad(int n, float factor, const float *a, const float *b, float *c)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        c[i] = a[i] + factor * b[i];
}

// Stencils.

// One step of heat conduction on a chip with a heat source in each cell; borders are insulated.
extern "C" __global__ void hotspot(int width, int height, float rate, const float *heat,
                                   const float *power, float *next)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;

    int at = y * width + x;
    float here = heat[at];
    float north = y > 0 ? heat[at - width] : here;
    float south = y < height - 1 ? heat[at + width] : here;
    float west = x > 0 ? heat[at - 1] : here;
    float east = x < width - 1 ? heat[at + 1] : here;
    next[at] = here + rate * (north + south + west + east - 4.0f * here + power[at]);
}

// The same by tiles in shared memory, with a ring of neighbours.
extern "C" __global__ void hotspot_tiled(int width, int height, float rate, const float *heat,
                                         const float *power, float *next)
{
    __shared__ float tile[TILE + 2][TILE + 2];

    int tx = threadIdx.x + 1;
    int ty = threadIdx.y + 1;
    int x = blockIdx.x * TILE + threadIdx.x;
    int y = blockIdx.y * TILE + threadIdx.y;
    int column = min(x, width - 1);
    int row = min(y, height - 1);

    tile[ty][tx] = heat[row * width + column];
    if (threadIdx.x == 0)
        tile[ty][0] = heat[row * width + max(x - 1, 0)];
    if (threadIdx.x == TILE - 1)
        tile[ty][TILE + 1] = heat[row * width + min(x + 1, width - 1)];
    if (threadIdx.y == 0)
        tile[0][tx] = heat[max(y - 1, 0) * width + column];
    if (threadIdx.y == TILE - 1)
        tile[TILE + 1][tx] = heat[min(y + 1, height - 1) * width + column];
    __syncthreads();

    if (x < width && y < height) {
        float here = tile[ty][tx];
        float around = tile[ty - 1][tx] + tile[ty + 1][tx] + tile[ty][tx - 1] + tile[ty][tx + 1];
        next[y * width + x] = here + rate * (around - 4.0f * here + power[y * width + x]);
    }
}

// Jacobi step of the Laplacian in three dimensions; borders stay as they are in `out`.
extern "C" __global__ void laplace_3d(int nx, int ny, int nz, float centre, float side, const float *in,
                                      float *out)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    int z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x < 1 || y < 1 || z < 1 || x >= nx - 1 || y >= ny - 1 || z >= nz - 1)
        return;

    int at = (z * ny + y) * nx + x;
    out[at] = centre * in[at]
            + side * (in[at - 1] + in[at + 1] + in[at - nx] + in[at + nx] + in[at - nx * ny] + in[at + nx * ny]);
}

// Convolution along rows, the row in shared memory; the border repeats.
extern "C" __global__ void gauss_rows(int width, int height, const float *weights, const float *in, float *out)
{
    __shared__ float row[THREADS + 2 * RADIUS];

    int thread = threadIdx.x;
    int x = blockIdx.x * THREADS + thread;
    int y = blockIdx.y;

    row[thread + RADIUS] = in[y * width + min(x, width - 1)];
    if (thread < RADIUS) {
        row[thread] = in[y * width + min(max(x - RADIUS, 0), width - 1)];
        row[thread + THREADS + RADIUS] = in[y * width + min(x + THREADS, width - 1)];
    }
    __syncthreads();

    if (x < width) {
        float sum = 0.0f;
#pragma unroll
        for (int k = 0; k <= 2 * RADIUS; ++k)
            sum += weights[k] * row[thread + k];
        out[y * width + x] = sum;
    }
}

// Convolution along columns, straight from global memory.
extern "C" __global__ void gauss_columns(int width, int height, const float *weights, const float *in,
                                         float *out)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;

    float sum = 0.0f;
    for (int k = -RADIUS; k <= RADIUS; ++k)
        sum += weights[k + RADIUS] * in[min(max(y + k, 0), height - 1) * width + x];
    out[y * width + x] = sum;
}

// Means of 2 x 2 pixels; `width` and `height` are those of `out`.
extern "C" __global__ void downsample(int width, int height, int in_width, const float *in, float *out)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;

    const float *at = in + 2 * y * in_width + 2 * x;
    out[y * width + x] = 0.25f * (at[0] + at[1] + at[in_width] + at[in_width + 1]);
}

// Reductions.

extern "C" __global__ void sum(int n, const float *a, float *total)
{
    __shared__ float partial[THREADS];

    int thread = threadIdx.x;
    int i = blockIdx.x * THREADS + thread;
    partial[thread] = i < n ? a[i] : 0.0f;
    __syncthreads();

    for (int half = THREADS / 2; half > 0; half >>= 1) {
        if (thread < half)
            partial[thread] += partial[thread + half];
        __syncthreads();
    }
    if (thread == 0)
        atomicAdd(total, partial[0]);
}

// Each thread adds up in strides of the grid first.
extern "C" __global__ void dot(int n, const float *a, const float *b, float *total)
{
    __shared__ float partial[THREADS];

    int thread = threadIdx.x;
    float own = 0.0f;
    for (int i = blockIdx.x * THREADS + thread; i < n; i += gridDim.x * THREADS)
        own += a[i] * b[i];
    partial[thread] = own;
    __syncthreads();

    for (int half = THREADS / 2; half > 0; half >>= 1) {
        if (thread < half)
            partial[thread] += partial[thread + half];
        __syncthreads();
    }
    if (thread == 0)
        atomicAdd(total, partial[0]);
}

// Graphs: neighbours in compressed rows.

// Marks the unvisited neighbours of the vertices of one level.
extern "C" __global__ void bfs_level(int vertices, int level, const int *starts, const int *neighbours,
                                     const int *levels, int *next, int *found)
{
    int vertex = blockIdx.x * blockDim.x + threadIdx.x;
    if (vertex >= vertices || levels[vertex] != level)
        return;

    for (int edge = starts[vertex]; edge < starts[vertex + 1]; ++edge) {
        int other = neighbours[edge];
        if (levels[other] < 0) {
            next[other] = level + 1;
            *found = 1;
        }
    }
}

// Sparse matrix times vector, one thread a row.
extern "C" __global__ void spmv(int rows, const int *starts, const int *columns, const float *values,
                                const float *x, float *y)
{
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows)
        return;

    float sum = 0.0f;
    for (int i = starts[row]; i < starts[row + 1]; ++i)
        sum += values[i] * x[columns[i]];
    y[row] = sum;
}

// C = A * B, of any shapes: A is m x k, B is k x n.
extern "C" __global__ void matmul_tiled(int m, int n, int k, const float *a, const float *b, float *c)
{
    __shared__ float tile_a[TILE][TILE];
    __shared__ float tile_b[TILE][TILE];

    int tx = threadIdx.x;
    int ty = threadIdx.y;
    int row = blockIdx.y * TILE + ty;
    int column = blockIdx.x * TILE + tx;
    float sum = 0.0f;

    for (int start = 0; start < k; start += TILE) {
        tile_a[ty][tx] = row < m && start + tx < k ? a[row * k + start + tx] : 0.0f;
        tile_b[ty][tx] = start + ty < k && column < n ? b[(start + ty) * n + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; ++i)
            sum += tile_a[ty][i] * tile_b[i][tx];
        __syncthreads();
    }
    if (row < m && column < n)
        c[row * n + column] = sum;
}

// Counts byte values, in strides of the grid.
extern "C" __global__ void histogram_strided(int n, const unsigned char *data, unsigned int *counts)
{
    __shared__ unsigned int bins[BINS];

    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&bins[data[i]], 1u);
    __syncthreads();
    atomicAdd(&counts[threadIdx.x], bins[threadIdx.x]);
}
