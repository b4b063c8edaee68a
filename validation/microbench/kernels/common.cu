// What all kernels share. Compiled at run time by NVRTC, so no headers of the CUDA toolkit are used; the same text
// is compiled for the CPU by tests/emulated.cpp, which brings the definitions below in its own way.
#ifndef TENFOLD_EMULATED
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define DEVICE static __device__ __forceinline__
#define KERNEL extern "C" __global__

DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
DEVICE u32 permute(u32 low, u32 high, u32 selector) { return __byte_perm(low, high, selector); }

// D += A (16 x 16, rows) times B (16 x 8, columns) in bf16.
DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two floats as bf16, to the nearest, ties to even.
DEVICE u32 two_bf16(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

DEVICE float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Copies 16 bytes into shared memory without waiting; `copies_wait` waits for all groups but the last `open`.
DEVICE void copy_async(void* shared, const void* global) {
    u32 at = (u32)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(global));
}
DEVICE void copies_group() { asm volatile("cp.async.commit_group;"); }
template <int OPEN> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory"); }

// Two bf16 times 2^120.
DEVICE u32 times_2_120(u32 pair) {
    u32 out;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(pair), "r"(0x7b807b80u), "r"(0x80008000u));
    return out;
}
#endif

DEVICE float bf16_to_float(u16 bits) { return __uint_as_float((u32)bits << 16); }

// To the nearest, ties to even; no NaN comes here.
DEVICE u16 float_to_bf16(float value) {
    u32 bits = __float_as_uint(value);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

DEVICE float e4m3_to_float(u8 bits) {
    return __uint_as_float(((u32)(bits & 0x80u) << 24) | ((u32)(bits & 0x7fu) << 20)) * 0x1p120f;
}

// To the nearest, ties to even, largest 448.
DEVICE u8 float_to_e4m3(float value) {
    u32 sign = (__float_as_uint(value) >> 24) & 0x80u;
    float size = fminf(fabsf(value), 448.0f);
    u32 scaled = __float_as_uint(size * 0x1p-120f);
    if (size < 0x1p-6f) {
        // Below the smallest normal number steps are of 2^-9.
        return (u8)(sign | (u32)rintf(size * 512.0f));
    }
    return (u8)(sign | ((scaled + 0x7ffffu + ((scaled >> 20) & 1u)) >> 20));
}

// Two of the four e4m3 of `four` (the lower or the upper ones) as bf16, exactly.
DEVICE u32 e4m3_pair(u32 four, bool upper) {
    u32 spread = permute(four, 0, upper ? 0x3424u : 0x1404u);
    return times_2_120((spread & 0x80008000u) | ((spread >> 4) & 0x07f007f0u));
}

// Random bits of a number (lowbias32 by C. Wellons).
DEVICE u32 hash(u32 x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

DEVICE float warp_sum(float value) {
    for (int mask = 16; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
    return value;
}

DEVICE float warp_max(float value) {
    for (int mask = 16; mask > 0; mask >>= 1) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}

// The sum (or the largest) of all threads' values, for each of them; `room` holds a float for each warp.
DEVICE float block_reduce(float value, float* room, bool largest) {
    value = largest ? warp_max(value) : warp_sum(value);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) room[threadIdx.x >> 5] = value;
    __syncthreads();
    float all = room[0];
    for (u32 warp = 1; warp < blockDim.x >> 5; warp++) {
        all = largest ? fmaxf(all, room[warp]) : all + room[warp];
    }
    return all;
}
