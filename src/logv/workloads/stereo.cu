// Stereo disparity by block matching: for each pixel of one image, the shift of the other image whose
// sum of absolute differences over a 9 x 9 window is smallest; the smallest shift on a tie. It is done
// for both images, and kept where both agree.
//
// Images are three 8-bit planes, one for each colour, `plane` bytes apart. They are padded so that no
// thread leaves them: `pitch` bytes a row, RADIUS extra rows above and below what the blocks cover,
// `disparities + RADIUS` extra columns on either side.

#define RADIUS 4
#define WINDOW (2 * RADIUS + 1)
#define ROWS 8
#define WIDTH 128
#define OUTPUTS (WIDTH - 2 * RADIUS)
#define UNKNOWN 255
#define COLOURS 3

// A block computes ROWS rows of OUTPUTS columns. Its threads own WIDTH neighbouring columns: for each
// shift a thread slides a window of 9 rows down its column, then adds 9 neighbours' sums. `step` is the
// direction in which `other` is shifted: -1 if it is the right image, 1 if it is the left one.
extern "C" __global__ void disparity(const unsigned char *image, const unsigned char *other,
                                     unsigned char *result, int pitch, int plane, int result_pitch,
                                     int disparities, int step)
{
    __shared__ int sums[ROWS][WIDTH + 2 * RADIUS];

    int thread = threadIdx.x;
    int column = blockIdx.x * OUTPUTS + thread;
    int row = blockIdx.y * ROWS;
    const unsigned char *here = image + row * pitch + column + disparities;
    const unsigned char *there = other + row * pitch + column + disparities;
    int best_cost[ROWS];
    int best[ROWS];

#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        best_cost[i] = 255 * COLOURS * WINDOW * WINDOW + 1;
        best[i] = 0;
        // The last columns' neighbours, which no thread owns: they reach no result, but are read.
        if (thread < 2 * RADIUS)
            sums[i][WIDTH + thread] = 0;
    }

    for (int shift = 0; shift < disparities; ++shift) {
        int difference[ROWS + 2 * RADIUS];
#pragma unroll
        for (int i = 0; i < ROWS + 2 * RADIUS; ++i)
            difference[i] = 0;
#pragma unroll
        for (int colour = 0; colour < COLOURS; ++colour) {
            const unsigned char *a = here + colour * plane;
            const unsigned char *b = there + colour * plane + step * shift;
#pragma unroll
            for (int i = 0; i < ROWS + 2 * RADIUS; ++i)
                difference[i] += abs((int)a[i * pitch] - (int)b[i * pitch]);
        }

        int sum = 0;
#pragma unroll
        for (int i = 0; i < WINDOW; ++i)
            sum += difference[i];
        sums[0][thread] = sum;
#pragma unroll
        for (int i = 1; i < ROWS; ++i) {
            sum += difference[i + WINDOW - 1] - difference[i - 1];
            sums[i][thread] = sum;
        }
        __syncthreads();

#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            int cost = 0;
#pragma unroll
            for (int k = 0; k < WINDOW; ++k)
                cost += sums[i][thread + k];
            best[i] = cost < best_cost[i] ? shift : best[i];
            best_cost[i] = min(cost, best_cost[i]);
        }
        __syncthreads();
    }

    if (thread < OUTPUTS) {
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
            result[(row + i) * result_pitch + column] = (unsigned char)best[i];
    }
}

// Keeps a pixel's disparity if the pixel it leads to in the right image leads back to within one column.
extern "C" __global__ void agree(const unsigned char *left, const unsigned char *right,
                                 unsigned char *result, int pitch)
{
    int column = blockIdx.x * OUTPUTS + threadIdx.x;
    int at = blockIdx.y * pitch + column;
    int there = max(column - left[at], 0);
    int difference = abs(left[at] - right[blockIdx.y * pitch + there]);
    result[at] = difference <= 1 ? left[at] : UNKNOWN;
}
