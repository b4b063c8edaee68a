// The CUDA kernels, run on a CPU and compared with plain loops. Every thread of a block is a fiber; barriers and what
// a warp does together (shuffles, tensor cores) switch between them. Fragments of matrices are taken apart as the PTX
// ISA lays them out (mma.m16n8k16, bf16).
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define TENFOLD_EMULATED
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define DEVICE static inline
#define KERNEL static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static
struct uint2 { u32 x, y; };
struct uint4 { u32 x, y, z, w; };
struct Index { u32 x = 1, y = 1, z = 1; };
static Index threadIdx, blockIdx, blockDim, gridDim;
static float __uint_as_float(u32 bits) { float f; memcpy(&f, &bits, 4); return f; }
static u32 __float_as_uint(float f) { u32 bits; memcpy(&bits, &f, 4); return bits; }
static float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static u32 min(u32 a, u32 b) { return a < b ? a : b; }
static u32 max(u32 a, u32 b) { return a > b ? a : b; }
static void atomicMin(u32* at, u32 value) { if (value < *at) *at = value; }

struct Barrier {
    u32 arrived = 0, generation = 0;
};
struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false;
};
struct Warp {
    Barrier barrier;
    float value[32];
    u32 a[32][4], b[32][2];
};
static ucontext_t scheduler;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Warp> warps;
static Barrier all;
static u32 running, alive;
static std::function<void()> body;

static void yield() {
    u32 own = running;
    swapcontext(&fibers[own]->context, &scheduler);
}
static void wait_for(Barrier& barrier, u32 count) {
    u32 generation = barrier.generation;
    if (++barrier.arrived == count) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    while (barrier.generation == generation) yield();
}
static void __syncthreads() { wait_for(all, alive); }
static Warp& own_warp() { return warps[threadIdx.x / 32]; }
static void warp_barrier() { wait_for(own_warp().barrier, 32); }

static float shuffle_xor(float value, int mask) {
    Warp& warp = own_warp();
    u32 lane = threadIdx.x % 32;
    warp.value[lane] = value;
    warp_barrier();
    float other = warp.value[lane ^ mask];
    warp_barrier();
    return other;
}
static u32 permute(u32 low, u32 high, u32 selector) {
    u64 both = (u64)high << 32 | low;
    u32 out = 0;
    for (int i = 0; i < 4; i++) out |= (u32)(both >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
    return out;
}
static float half_of(u32 pair, u32 which) { return __uint_as_float((which ? pair >> 16 : pair & 0xffff) << 16); }
static u32 times_2_120(u32 pair) {
    u32 low = __float_as_uint(half_of(pair, 0) * 0x1p120f), high = __float_as_uint(half_of(pair, 1) * 0x1p120f);
    return low >> 16 | (high & 0xffff0000u);
}
static u32 two_bf16(float low, float high) {
    auto nearest = [](float value) {
        u32 bits = __float_as_uint(value);
        return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    };
    return nearest(low) | nearest(high) << 16;
}
static float power_of_two(float x) { return exp2f(x); }
static void copy_async(void* shared, const void* global) { memcpy(shared, global, 16); }
static void copies_group() {}
template <int OPEN> static void copies_wait() {}
static void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    Warp& warp = own_warp();
    u32 lane = threadIdx.x % 32;
    memcpy(warp.a[lane], a, sizeof a);
    warp.b[lane][0] = b0;
    warp.b[lane][1] = b1;
    warp_barrier();
    for (u32 i = 0; i < 4; i++) {
        u32 row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (u32 k = 0; k < 16; k++) {
            float left = half_of(warp.a[row % 8 * 4 + k % 8 / 2][row / 8 + 2 * (k / 8)], k % 2);
            d[i] += left * half_of(warp.b[column * 4 + k % 8 / 2][k / 8], k % 2);
        }
    }
    warp_barrier();
}

static void enter() {
    body();
    fibers[running]->done = true;
    alive--;
    // Who has left counts at barriers as if there.
    if (alive > 0 && all.arrived == alive) {
        all.arrived = 0;
        all.generation++;
    }
    swapcontext(&fibers[running]->context, &scheduler);
}

static void launch(Index grid, u32 threads, std::function<void()> kernel) {
    body = kernel;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    while (fibers.size() < threads) {
        fibers.push_back(std::make_unique<Fiber>());
        fibers.back()->stack.resize(128 << 10);
    }
    for (u32 z = 0; z < grid.z; z++) for (u32 y = 0; y < grid.y; y++) for (u32 x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        warps.assign((threads + 31) / 32, Warp());
        all = Barrier();
        alive = threads;
        for (u32 t = 0; t < threads; t++) {
            Fiber& fiber = *fibers[t];
            fiber.done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, enter, 0);
        }
        while (alive > 0) {
            for (running = 0; running < threads; running++) {
                if (fibers[running]->done) continue;
                threadIdx = {running, 0, 0};
                swapcontext(&scheduler, &fibers[running]->context);
            }
        }
    }
}

#include "../kernels/common.cu"
#include "../kernels/elementwise.cu"
namespace wide {
#define DIM 128
#define KV_E4M3 0
#include "../kernels/attention.cu"
#include "undefine.inc"
}
namespace wide_e4m3 {
#define DIM 128
#define KV_E4M3 1
#include "../kernels/attention.cu"
#include "undefine.inc"
}
namespace narrow {
#define DIM 64
#define KV_E4M3 0
#include "../kernels/attention.cu"
#include "undefine.inc"
}

static int failures = 0;
static void expect(const char* what, double worst, double most) {
    bool fine = worst <= most;
    printf("%-52s %.2e (at most %.0e) %s\n", what, worst, most, fine ? "pass" : "FAIL");
    failures += !fine;
}
static u32 state = 12345;
static u32 next() { return state = hash(state + 0x9e3779b9u); }
static float uniform() { return (float)(next() >> 8) * 0x1p-23f - 1.0f; }
static std::vector<u16> random_bf16(size_t count) {
    std::vector<u16> out(count);
    for (u16& value : out) value = float_to_bf16(uniform());
    return out;
}
static double off(double got, double wanted, double scale) { return fabs(got - wanted) / scale; }

static void conversions() {
    double worst = 0;
    for (u32 bits = 0; bits < 256; bits++) {
        if ((bits & 0x7f) == 0x7f) continue;
        double value = (bits & 0x78) ? ldexp(8 + (bits & 7), (int)(bits >> 3 & 15) - 10) : ldexp(bits & 7, -9);
        if (bits & 0x80) value = -value;
        worst = fmax(worst, fabs(e4m3_to_float((u8)bits) - value));
        worst = fmax(worst, fabs(half_of(e4m3_pair(bits | 0x12345600u, false), 0) - value));
        worst = fmax(worst, fabs(half_of(e4m3_pair(0x00123456u | bits << 24, true), 1) - value));
        worst = fmax(worst, fabs((double)float_to_e4m3((float)value) - bits) * (value != 0));
        // What lies between two neighbours goes to the nearer one.
        if ((bits & 0x7f) < 0x7e && !(bits & 0x80)) {
            float above = e4m3_to_float((u8)(bits + 1)), gap = above - (float)value;
            worst = fmax(worst, float_to_e4m3((float)value + 0.4f * gap) != bits);
            worst = fmax(worst, float_to_e4m3((float)value + 0.6f * gap) != bits + 1);
        }
    }
    expect("e4m3 there and back", worst, 0);
}

static void norms() {
    const u32 tokens = 3, width = 320;
    for (u32 narrow = 0; narrow < 2; narrow++) {
        auto x = random_bf16(tokens * width), residual = random_bf16(tokens * width), weight = random_bf16(width);
        auto before = residual;
        std::vector<u16> out(tokens * width);
        launch({tokens, 1, 1}, 128, [&] {
            add_rms_norm((u32*)x.data(), (u32*)residual.data(), (u32*)weight.data(), out.data(), width, narrow);
        });
        double worst = 0;
        for (u32 t = 0; t < tokens; t++) {
            double squares = 0;
            for (u32 i = 0; i < width; i++) {
                double sum = bf16_to_float(x[t * width + i]) + bf16_to_float(before[t * width + i]);
                squares += sum * sum;
            }
            for (u32 i = 0; i < width; i++) {
                double sum = bf16_to_float(residual[t * width + i]);
                double wanted = sum / sqrt(squares / width + 1e-5) * bf16_to_float(weight[i]);
                double got = narrow ? e4m3_to_float(((u8*)out.data())[t * width + i]) : bf16_to_float(out[t * width + i]);
                worst = fmax(worst, off(got, wanted, narrow ? 2 : 1));
            }
        }
        expect(narrow ? "add_rms_norm to e4m3" : "add_rms_norm", worst, narrow ? 6.3e-2 : 1e-2);
    }
}

static void activations() {
    const u32 tokens = 3, width = 208;
    for (u32 narrow = 0; narrow < 2; narrow++) {
        auto in = random_bf16(tokens * 2 * width);
        std::vector<u16> out(tokens * width);
        launch({2, tokens, 1}, 32, [&] { silu_mul((u32*)in.data(), out.data(), width, narrow); });
        double worst = 0;
        for (u32 t = 0; t < tokens; t++) for (u32 i = 0; i < width; i++) {
            double gate = bf16_to_float(in[t * 2 * width + i]), up = bf16_to_float(in[t * 2 * width + width + i]);
            double got = narrow ? e4m3_to_float(((u8*)out.data())[t * width + i]) : bf16_to_float(out[t * width + i]);
            worst = fmax(worst, off(got, gate / (1 + exp(-gate)) * up, 1));
        }
        expect(narrow ? "silu_mul to e4m3" : "silu_mul", worst, narrow ? 3.2e-2 : 4e-3);
    }
}

static void rotations() {
    const u32 tokens = 4, heads = 6, kv_heads = 2, dim = 64, row = (heads + 2 * kv_heads) * dim;
    for (u32 narrow = 0; narrow < 2; narrow++) {
        auto qkv = random_bf16(tokens * row);
        std::vector<u32> positions = {0, 7, 300, 9000}, slots = {5, 33, 16, 0};
        std::vector<u16> q(tokens * heads * dim), keys(48 * kv_heads * dim), values(48 * kv_heads * dim);
        launch({tokens, 1, 1}, 64, [&] {
            rope_cache(qkv.data(), q.data(), keys.data(), values.data(), positions.data(), slots.data(), heads, kv_heads, dim, narrow);
        });
        auto cached = [&](std::vector<u16>& cache, size_t at) {
            return narrow ? e4m3_to_float(((u8*)cache.data())[at]) : bf16_to_float(cache[at]);
        };
        double worst = 0;
        for (u32 t = 0; t < tokens; t++) {
            for (u32 h = 0; h < heads + kv_heads; h++) for (u32 i = 0; i < dim / 2; i++) {
                double angle = positions[t] * pow(500000.0, -2.0 * i / dim);
                double a = bf16_to_float(qkv[t * row + h * dim + i]), b = bf16_to_float(qkv[t * row + h * dim + i + dim / 2]);
                double first = a * cos(angle) - b * sin(angle), second = b * cos(angle) + a * sin(angle);
                double got[2];
                for (u32 half = 0; half < 2; half++) {
                    size_t at = i + half * dim / 2;
                    got[half] = h < heads ? bf16_to_float(q[(t * heads + h) * dim + at])
                                          : cached(keys, (slots[t] * kv_heads + h - heads) * dim + at);
                }
                worst = fmax(worst, fmax(off(got[0], first, 1), off(got[1], second, 1)));
            }
            for (u32 i = 0; i < kv_heads * dim; i++) {
                double wanted = bf16_to_float(qkv[t * row + (heads + kv_heads) * dim + i]);
                worst = fmax(worst, off(cached(values, slots[t] * kv_heads * dim + i), wanted, 1));
            }
        }
        expect(narrow ? "rope_cache to e4m3" : "rope_cache", worst, narrow ? 7e-2 : 1e-2);
    }
}

static void lookups() {
    const u32 rows = 40, width = 48, bags = 5, pooling = 3;
    auto table = random_bf16(rows * width);
    std::vector<u32> ids(bags * pooling);
    for (u32& id : ids) id = next() % rows;
    std::vector<u16> out(bags * width);
    launch({bags, 1, 1}, 32, [&] { embedding_bag((u32*)table.data(), ids.data(), (u32*)out.data(), width, pooling); });
    double worst = 0;
    for (u32 bag = 0; bag < bags; bag++) for (u32 i = 0; i < width; i++) {
        double wanted = 0;
        for (u32 j = 0; j < pooling; j++) wanted += bf16_to_float(table[ids[bag * pooling + j] * width + i]);
        worst = fmax(worst, off(bf16_to_float(out[bag * width + i]), wanted, 3));
    }
    expect("embedding_bag", worst, 4e-3);
}

static void samples() {
    const u32 sequences = 2000, vocabulary = 5;
    std::vector<float> logits(sequences * vocabulary), best(sequences);
    const double wanted[vocabulary] = {0.5, 0.25, 0.125, 0.1, 0.025};
    for (u32 i = 0; i < logits.size(); i++) logits[i] = (float)log(wanted[i % vocabulary]) + 3.0f;
    std::vector<u32> chosen(sequences);
    launch({sequences, 1, 1}, 32, [&] { sample(logits.data(), chosen.data(), best.data(), vocabulary, 7); });
    double counts[vocabulary] = {}, worst = 0, probability = 0;
    for (u32 s = 0; s < sequences; s++) {
        counts[chosen[s]]++;
        probability = fmax(probability, fabs(best[s] - wanted[chosen[s]]));
    }
    // In standard errors.
    for (u32 i = 0; i < vocabulary; i++) {
        double error = sqrt(wanted[i] * (1 - wanted[i]) / sequences);
        worst = fmax(worst, fabs(counts[i] / sequences - wanted[i]) / error);
    }
    expect("sample: probabilities", probability, 1e-5);
    expect("sample: frequencies, in standard errors", worst, 4);
}

static void fills() {
    std::vector<u32> words(4096);
    double worst = 0, sum = 0;
    launch({2, 1, 1}, 64, [&] { fill(words.data(), words.size(), 3, 0); });
    for (u32 word : words) for (u32 half = 0; half < 2; half++) {
        worst = fmax(worst, fabs(half_of(word, half)));
        sum += half_of(word, half);
    }
    expect("fill bf16: size", worst, 1);
    expect("fill bf16: mean, in standard errors", fabs(sum / 8192) / (0.577 / sqrt(8192.0)), 4);
    launch({2, 1, 1}, 64, [&] { fill(words.data(), words.size(), 3, 1); });
    worst = 0;
    for (u32 word : words) for (u32 i = 0; i < 4; i++) worst = fmax(worst, fabs(e4m3_to_float((u8)(word >> 8 * i))));
    expect("fill e4m3: size", worst, 2);
}

struct Shape { u32 heads, kv_heads, dim; bool narrow; };

// What attention gives for one query over keys 0..count.
static void plain(const Shape& s, const u16* query, const std::function<size_t(u32)>& at, u32 count, u32 kv,
                  const std::vector<u16>& keys, const std::vector<u16>& values, std::vector<double>& out) {
    auto value = [&](const std::vector<u16>& cache, size_t i) {
        return (double)(s.narrow ? e4m3_to_float(((const u8*)cache.data())[i]) : bf16_to_float(cache[i]));
    };
    std::vector<double> scores(count);
    double most = -1e300, sum = 0;
    for (u32 key = 0; key < count; key++) {
        double score = 0;
        for (u32 d = 0; d < s.dim; d++) score += bf16_to_float(query[d]) * value(keys, (at(key) * s.kv_heads + kv) * s.dim + d);
        scores[key] = score / sqrt((double)s.dim);
        most = fmax(most, scores[key]);
    }
    out.assign(s.dim, 0);
    for (u32 key = 0; key < count; key++) {
        double weight = exp(scores[key] - most);
        sum += weight;
        for (u32 d = 0; d < s.dim; d++) out[d] += weight * value(values, (at(key) * s.kv_heads + kv) * s.dim + d);
    }
    for (double& o : out) o /= sum;
}

static std::vector<u16> cache_of(const Shape& s, u32 pages) {
    std::vector<u16> cache(pages * 16 * s.kv_heads * s.dim);
    for (u16& value : cache) value = s.narrow ? (u16)(next() & 0xbfbf) : float_to_bf16(2 * uniform());
    return cache;
}

template <typename Decode, typename Combine>
static void decodes(const char* name, const Shape& s, bool paged, u32 each, Decode decode, Combine join) {
    std::vector<u32> contexts = {1, 16, 45, 100};
    const u32 batch = 4, stride = 8, pages = batch * stride, parts = 4 * ((7 + 4 * each - 1) / (4 * each));
    auto keys = cache_of(s, pages), values = cache_of(s, pages), q = random_bf16(batch * s.heads * s.dim);
    std::vector<u32> table(pages);
    for (u32 i = 0; i < pages; i++) table[i] = paged ? (i * 11 + 3) % pages : i;
    std::vector<float> partial(batch * s.heads * parts * s.dim, NAN), sums(batch * s.heads * parts * 2, NAN);
    std::vector<u16> out(batch * s.heads * s.dim);
    launch({parts / 4, s.kv_heads, batch}, 128, [&] {
        decode(q.data(), keys.data(), values.data(), paged ? table.data() : nullptr, contexts.data(), stride, s.heads, s.kv_heads, parts, each, partial.data(), sums.data());
    });
    launch({s.heads, batch, 1}, 4 * s.dim, [&] { join(partial.data(), sums.data(), contexts.data(), out.data(), s.heads, parts, each); });
    double worst = 0;
    std::vector<double> wanted;
    for (u32 b = 0; b < batch; b++) for (u32 h = 0; h < s.heads; h++) {
        auto at = [&](u32 key) { return (size_t)table[b * stride + key / 16] * 16 + key % 16; };
        const u16* query = q.data() + (b * s.heads + h) * s.dim;
        plain(s, query, at, contexts[b], h / (s.heads / s.kv_heads), keys, values, wanted);
        for (u32 d = 0; d < s.dim; d++) {
            double got = bf16_to_float(out[(b * s.heads + h) * s.dim + d]);
            worst = fmax(worst, std::isnan(got) ? 1e9 : off(got, wanted[d], 2));
        }
    }
    expect(name, worst, 1e-2);
}

template <typename Prefill>
static void prefills(const char* name, const Shape& s, Prefill prefill) {
    std::vector<u32> starts = {0, 37, 38, 118}, befores = {0, 20, 33};
    const u32 tokens = 118, stride = 10, pages = 3 * stride;
    auto keys = cache_of(s, pages), values = cache_of(s, pages), q = random_bf16(tokens * s.heads * s.dim);
    std::vector<u32> table(pages);
    for (u32 i = 0; i < pages; i++) table[i] = (i * 7 + 5) % pages;
    std::vector<u16> out(tokens * s.heads * s.dim, 0x7fc0);
    launch({2, s.heads, 3}, 128, [&] {
        prefill(q.data(), keys.data(), values.data(), table.data(), starts.data(), befores.data(), stride, s.heads, s.kv_heads, out.data());
    });
    double worst = 0;
    std::vector<double> wanted;
    for (u32 b = 0; b < 3; b++) for (u32 t = starts[b]; t < starts[b + 1]; t++) for (u32 h = 0; h < s.heads; h++) {
        auto at = [&](u32 key) { return (size_t)table[b * stride + key / 16] * 16 + key % 16; };
        const u16* query = q.data() + (t * s.heads + h) * s.dim;
        plain(s, query, at, befores[b] + t - starts[b] + 1, h / (s.heads / s.kv_heads), keys, values, wanted);
        for (u32 d = 0; d < s.dim; d++) {
            double got = bf16_to_float(out[(t * s.heads + h) * s.dim + d]);
            worst = fmax(worst, std::isnan(got) ? 1e9 : off(got, wanted[d], 2));
        }
    }
    expect(name, worst, 1e-2);
}

int main() {
    conversions();
    fills();
    norms();
    activations();
    rotations();
    lookups();
    samples();
    const auto d = wide::decode_attention;
    decodes("decode, paged, groups of 4, parts of 1 page", {8, 2, 128, false}, true, 1, d, wide::combine);
    decodes("decode, contiguous, groups of 1, parts of 4", {2, 2, 128, false}, false, 4, d, wide::combine);
    decodes("decode, paged, groups of 12, parts of 2", {12, 1, 128, false}, true, 2, d, wide::combine);
    decodes("decode, paged, e4m3", {8, 2, 128, true}, true, 1, [](auto q, auto k, auto v, auto... rest) { wide_e4m3::decode_attention(q, (u8*)k, (u8*)v, rest...); }, wide_e4m3::combine);
    decodes("decode, paged, heads of 64", {4, 2, 64, false}, true, 3, narrow::decode_attention, narrow::combine);
    prefills("prefill of chunks, groups of 4", {4, 1, 128, false}, wide::prefill_attention);
    prefills("prefill of chunks, e4m3", {2, 1, 128, true}, [](auto q, auto k, auto v, auto... rest) { wide_e4m3::prefill_attention(q, (u8*)k, (u8*)v, rest...); });
    prefills("prefill of chunks, heads of 64", {2, 2, 64, false}, narrow::prefill_attention);
    return failures > 0;
}
