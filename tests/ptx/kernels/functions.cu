// Functions that stay functions: every call in here is a call in the PTX.
#define CALLED extern "C" __device__ __noinline__

struct Vector {
    float x, y, z;
};

struct Mixed {
    double weights[3];
    int count;
    char tag;
    short small;
};

CALLED Vector scale(Vector v, float s) {
    if (s < 0) {
        return v;
    }
    v.x *= s;
    v.y *= s;
    v.z *= s;
    return v;
}

CALLED float dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

// Calls another function, twice.
CALLED float length_of_scaled(Vector v, float s) {
    Vector w = scale(scale(v, s), 2.0f);
    return sqrtf(dot(w, w));
}

extern "C" __global__ void vectors(int n, const float *in, const float *factors, float *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) {
        return;
    }
    Vector v = {in[3 * i], in[3 * i + 1], in[3 * i + 2]};
    Vector w = scale(v, factors[i]);
    out[4 * i] = w.x;
    out[4 * i + 1] = w.y;
    out[4 * i + 2] = w.z;
    out[4 * i + 3] = length_of_scaled(v, factors[i]);
}

// Early returns in a loop.
CALLED int collatz(unsigned int n, int limit) {
    for (int steps = 0; steps < limit; steps++) {
        if (n == 1) {
            return steps;
        }
        n = n & 1 ? 3 * n + 1 : n / 2;
    }
    return -1;
}

// Called by some threads only, in a loop that each thread leaves when it likes.
extern "C" __global__ void divergent(int n, const unsigned int *in, int *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) {
        return;
    }
    int sum = 0;
    for (unsigned int k = 0; k < in[i] % 5; k++) {
        if ((i + k) % 3) {
            sum += collatz(in[i] + k, 60);
        } else {
            sum -= 1;
        }
    }
    out[i] = sum;
}

// Narrow types: the caller passes 32 bits, the function reads what it needs.
CALLED char narrow(char c, unsigned short s, unsigned char u, bool b) { return b ? c + s * u : c - s; }
CALLED bool is_even(short s) { return s % 2 == 0; }

extern "C" __global__ void narrow_types(int n, const int *in, int *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        out[i] = narrow(in[i], in[i] >> 3, in[i] >> 5, is_even(in[i]));
    }
}

// A structure by value, which is indexed, and one by pointer, which may lie anywhere.
CALLED double mix(Mixed m, int which) {
    m.weights[which % 3] += m.count + m.small;
    return m.weights[0] + 2 * m.weights[1] + 3 * m.weights[2] + m.tag;
}

CALLED void step(Mixed *m, int i) {
    m->weights[i % 3] += 1;
    m->count += i;
    m->small = -i;
    m->tag = i & 63;
}

extern "C" __global__ void structures(int n, Mixed *data, double *out) {
    __shared__ Mixed common[32];
    int i = threadIdx.x;
    common[i] = data[i];
    Mixed own = data[(i + 1) % n];
    __syncthreads();
    step(&own, i);
    step(&common[(i + 3) % n], i);
    step(&data[i], 2 * i);
    __syncthreads();
    out[i] = mix(own, i) + 100 * mix(common[i], i + 1) + 10000 * mix(data[i], i + 2);
}

// Shared memory of the function's own, with barriers in it: one memory for all calls.
CALLED int block_sum(int value) {
    __shared__ int partial[64];
    int i = threadIdx.x;
    partial[i] = value;
    __syncthreads();
    for (int step = 32; step; step /= 2) {
        if (i < step) {
            partial[i] += partial[i + step];
        }
        __syncthreads();
    }
    int sum = partial[0];
    __syncthreads();
    return sum;
}

extern "C" __global__ void sums(const int *in, int *out) {
    int i = threadIdx.x;
    int first = block_sum(in[i]);
    int second = block_sum(in[i] * first + i);
    if (i % 2) {
        out[i] = collatz(second & 1023, 200);
    } else {
        out[i] = first;
    }
    __syncthreads();
    out[64 + i] = out[(i + 1) % 64] + second;
}

// An array in local memory that two levels of functions write.
CALLED void fill(int *where, int count, int start) {
    for (int k = 0; k < count; k++) {
        where[k] = start + k * k;
    }
}

CALLED int gather(int start) {
    int own[8];
    fill(own, 8, start);
    int sum = 0;
    for (int k = 0; k < 8; k++) {
        sum += own[(k * start) & 7];
    }
    return sum;
}

extern "C" __global__ void local_arrays(int *out) {
    int i = threadIdx.x;
    int mine[4];
    fill(mine, 4, i);
    int sum = gather(i);
    out[i] = sum + mine[i & 3] * 1000;
}
