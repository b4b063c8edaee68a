// Attention over a cache of pages of 16 tokens ([page][token][kv head][dim]), with grouped queries. Compiled for one
// DIM (64 or 128) and one format of the cache (KV_E4M3 0 or 1).
//
// Tensor cores multiply fragments that lie in registers. Which of a head's dimensions, or which column of the result,
// a place of a fragment stands for is free to choose as long as both operands agree, so it is chosen such that every
// lane reads 16 bytes at once and nothing is exchanged between lanes.
#define PAGE 16
// mma steps over the dimensions in Q K^T, and tiles of 8 dimensions of the result in P V.
#define STEPS (DIM / 16)
#define TILES (DIM / 8)

#if KV_E4M3
typedef u8 Kv;
#else
typedef u16 Kv;
#endif
// Bytes of a token's key or value of one head.
#define ROW (DIM * (int)sizeof(Kv))

// Bytes `at` within a row; rows in shared memory have pieces of 16 bytes changed places (`flip`), so that lanes which
// read together meet in no bank.
DEVICE const void* piece(const Kv* row, u32 at, u32 flip) { return (const u8*)row + (at * (u32)sizeof(Kv) ^ flip); }
// What is flipped in the row of a key, and in that of a value.
DEVICE u32 key_flip(u32 row) { return (KV_E4M3 ? (row & 3) << 5 : (row & 1) << 6) & (ROW - 1); }
DEVICE u32 value_flip(u32 row) { return (row & 6) << 4 & (ROW - 1); }

// A row's queries: place (row, pair of step t) holds dimensions of group t / 2: 32 (t / 2) + 8 c + 4 (t % 2) + {0..3},
// c being the lane's place among four.
DEVICE void load_queries(u32 (&fragment)[STEPS][4], const u16* low, const u16* high) {
    u32 c = threadIdx.x & 3;
    for (int t = 0; t < STEPS; t++) {
        u32 at = 32 * (t / 2) + 8 * c + 4 * (t % 2);
        for (int part = 0; part < 2; part++) {
            fragment[t][2 * part] = low ? *(const u32*)(low + at + 2 * part) : 0;
            fragment[t][2 * part + 1] = high ? *(const u32*)(high + at + 2 * part) : 0;
        }
    }
}

// scores += Q K^T for 8 keys, of which this lane reads the one at `row`.
DEVICE void multiply_keys(float (&scores)[4], const u32 (&queries)[STEPS][4], const Kv* row, u32 flip) {
    u32 c = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < STEPS / 2; j++) {
#if KV_E4M3
        uint2 eight = *(const uint2*)piece(row, 32 * j + 8 * c, flip);
        mma(scores, queries[2 * j], e4m3_pair(eight.x, false), e4m3_pair(eight.x, true));
        mma(scores, queries[2 * j + 1], e4m3_pair(eight.y, false), e4m3_pair(eight.y, true));
#else
        uint4 eight = *(const uint4*)piece(row, 32 * j + 8 * c, flip);
        mma(scores, queries[2 * j], eight.x, eight.y);
        mma(scores, queries[2 * j + 1], eight.z, eight.w);
#endif
    }
}

// Dimensions 64 j + 8 g + {0..7} of a value, g being the lane's group, as four pairs of bf16.
DEVICE uint4 load_values(const Kv* row, int j, u32 flip) {
    u32 g = (threadIdx.x & 31) >> 2;
#if KV_E4M3
    uint2 eight = *(const uint2*)piece(row, 64 * j + 8 * g, flip);
    uint4 out;
    out.x = e4m3_pair(eight.x, false);
    out.y = e4m3_pair(eight.x, true);
    out.z = e4m3_pair(eight.y, false);
    out.w = e4m3_pair(eight.y, true);
    return out;
#else
    return *(const uint4*)piece(row, 64 * j + 8 * g, flip);
#endif
}

DEVICE u32 word(const uint4& four, int i) { return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w; }

// result += P V for 16 keys; `rows` are this lane's four of them.
DEVICE void multiply_values(float (&result)[TILES][4], const u32 (&weights)[4], const Kv* const (&rows)[4], u32 flip) {
#pragma unroll
    for (int j = 0; j < TILES / 8; j++) {
        uint4 values[4];
        for (int key = 0; key < 4; key++) values[key] = load_values(rows[key], j, flip);
#pragma unroll
        for (int pair = 0; pair < 4; pair++) {
            u32 a = word(values[0], pair), b = word(values[1], pair);
            u32 c = word(values[2], pair), d = word(values[3], pair);
            mma(result[8 * j + 2 * pair], weights, permute(a, b, 0x5410u), permute(c, d, 0x5410u));
            mma(result[8 * j + 2 * pair + 1], weights, permute(a, b, 0x7632u), permute(c, d, 0x7632u));
        }
    }
}

// The dimension that place `i` (0 or 1) of tile `t` of the result stands for.
DEVICE u32 dimension(int t, int i) { return 64 * (t / 8) + 8 * (2 * (threadIdx.x & 3) + i) + t % 8; }

#define NONE (-3e38f)
// 1 / sqrt(DIM) and log2(e): weights are powers of two.
#define SCALE (DIM == 128 ? 0.08838834764f * 1.44269504f : 0.125f * 1.44269504f)

// Largest score, sum of weights and weighted sum of values so far, for this lane's two rows.
struct Softmax {
    float most[2], sum[2];
};

// Takes the scores of N blocks of 8 keys in; gives their weights as fragments of 16 keys and scales what there was.
template <int N>
DEVICE void absorb(Softmax& state, float (&result)[TILES][4], float (&scores)[N][4], u32 (&weights)[N / 2][4]) {
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float most = NONE, sum = 0.0f;
        for (int block = 0; block < N; block++) most = fmaxf(most, fmaxf(scores[block][2 * row], scores[block][2 * row + 1]));
        most = fmaxf(most, shuffle_xor(most, 1));
        most = fmaxf(fmaxf(most, shuffle_xor(most, 2)), state.most[row]);
        float shrink = power_of_two(state.most[row] - most);
        state.most[row] = most;
        for (int block = 0; block < N; block++) {
            float a = power_of_two(scores[block][2 * row] - most), b = power_of_two(scores[block][2 * row + 1] - most);
            weights[block / 2][2 * (block % 2) + row] = two_bf16(a, b);
            sum += a + b;
        }
        state.sum[row] = state.sum[row] * shrink + sum;
        for (int t = 0; t < TILES; t++) {
            result[t][2 * row] *= shrink;
            result[t][2 * row + 1] *= shrink;
        }
    }
}

// The sum over the four lanes that share a row.
DEVICE float row_sum(float value) {
    value += shuffle_xor(value, 1);
    return value + shuffle_xor(value, 2);
}

DEVICE u64 page_of(const u32* table, u32 sequence, u32 stride, u32 page) {
    return table ? table[(u64)sequence * stride + page] : (u64)sequence * stride + page;
}

// Parts of a sequence of so many pages: whole blocks of four, of about `each` pages a part, so that long sequences
// take no longer than short ones.
DEVICE u32 parts_of(u32 pages, u32 each) { return max((pages + 4 * each - 1) / (4 * each), 1) * 4; }

// Decode attention, flash-decoding style: a warp takes one part of the context of one sequence for the queries of one
// key-value head (at most 16), `combine` joins the parts. Grid: (most parts / 4, kv heads, batch), 128 threads; the
// results of a sequence's parts lie `parts` (the most) apart from the next's. With a `table` of null, the pages of a
// sequence follow each other (contiguous reservation).
KERNEL void __launch_bounds__(128) decode_attention(const u16* q, const Kv* keys, const Kv* values,
                                                    const u32* table, const u32* contexts, u32 stride, u32 heads,
                                                    u32 kv_heads, u32 parts, u32 each, float* partial,
                                                    float* sums) {
    u32 lane = threadIdx.x & 31, part = blockIdx.x * 4 + (threadIdx.x >> 5);
    u32 kv = blockIdx.y, sequence = blockIdx.z, group = heads / kv_heads, g = lane >> 2, c = lane & 3;
    u32 context = contexts[sequence], pages = (context + PAGE - 1) / PAGE, own = parts_of(pages, each);
    if (part >= own) return;
    u32 length = (pages + own - 1) / own, first = part * length, last = min(first + length, pages);
    const u16* query = q + ((u64)sequence * heads + kv * group) * DIM;
    u32 queries[STEPS][4];
    load_queries(queries, g < group ? query + g * DIM : 0, g + 8 < group ? query + (g + 8) * DIM : 0);
    float result[TILES][4] = {};
    Softmax state = {{NONE, NONE}, {0.0f, 0.0f}};
    u64 token = (u64)kv_heads * DIM;
    for (u32 page = first; page < last; page++) {
        u64 base = page_of(table, sequence, stride, page) * PAGE * token + (u64)kv * DIM;
        const Kv* rows[4] = {values + base + (2 * c) * token, values + base + (2 * c + 1) * token,
                             values + base + (2 * c + 8) * token, values + base + (2 * c + 9) * token};
        float scores[2][4] = {};
        multiply_keys(scores[0], queries, keys + base + g * token, 0);
        multiply_keys(scores[1], queries, keys + base + (g + 8) * token, 0);
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++) {
                u32 key = page * PAGE + 8 * half + 2 * c + (i & 1);
                scores[half][i] = key < context ? scores[half][i] * SCALE : NONE;
            }
        }
        u32 weights[1][4];
        absorb(state, result, scores, weights);
        multiply_values(result, weights[0], rows, 0);
    }
    for (int row = 0; row < 2; row++) {
        float sum = row_sum(state.sum[row]);
        u32 head = g + 8 * row;
        if (head >= group) continue;
        u64 at = ((u64)sequence * heads + kv * group + head) * parts + part;
        if (c == 0) {
            sums[2 * at] = state.most[row];
            sums[2 * at + 1] = sum;
        }
        for (int t = 0; t < TILES; t++) {
            for (int i = 0; i < 2; i++) partial[at * DIM + dimension(t, i)] = result[t][2 * row + i];
        }
    }
}

// Joins the parts. Grid: (heads, batch), 4 DIM threads: four groups take turns with the parts.
KERNEL void __launch_bounds__(4 * DIM) combine(const float* partial, const float* sums, const u32* contexts, u16* out,
                                               u32 heads, u32 parts, u32 each) {
    __shared__ float room[4 * DIM], shares[4];
    u64 row = ((u64)blockIdx.y * heads + blockIdx.x) * parts;
    u32 own = parts_of((contexts[blockIdx.y] + PAGE - 1) / PAGE, each);
    u32 d = threadIdx.x % DIM, group = threadIdx.x / DIM;
    float most = NONE, sum = 0.0f, value = 0.0f;
    for (u32 part = threadIdx.x; part < own; part += 4 * DIM) most = fmaxf(most, sums[2 * (row + part)]);
    most = block_reduce(most, room, true);
#pragma unroll 8
    for (u32 part = group; part < own; part += 4) {
        float share = power_of_two(sums[2 * (row + part)] - most);
        sum += share * sums[2 * (row + part) + 1];
        value += share * partial[(row + part) * DIM + d];
    }
    __syncthreads();
    room[threadIdx.x] = value;
    if (d == 0) shares[group] = sum;
    __syncthreads();
    if (group > 0) return;
    for (u32 other = 1; other < 4; other++) value += room[other * DIM + d];
    value /= shares[0] + shares[1] + shares[2] + shares[3];
    out[((u64)blockIdx.y * heads + blockIdx.x) * DIM + d] = float_to_bf16(value);
}

// Keys of a tile in shared memory.
#define KEYS 32

// Prefill attention, after FlashAttention-2 (Dao 2023): a block takes 64 queries of one head, a warp 16 of them, and
// goes over the keys up to the last query in tiles, of which the next is copied while this one is multiplied.
// `starts[s]` is where sequence s's chunk starts among the batch's tokens, `befores[s]` the tokens before the chunk.
// Grid: (parts of the longest chunk, heads, sequences), 128 threads.
KERNEL void __launch_bounds__(128, 3) prefill_attention(const u16* q, const Kv* keys, const Kv* values,
                                                        const u32* table, const u32* starts, const u32* befores,
                                                        u32 stride, u32 heads, u32 kv_heads, u16* out) {
    __shared__ __align__(128) u8 tiles[2][2][KEYS * ROW];
    // The parts with most keys come first.
    u32 part = gridDim.x - 1 - blockIdx.x;
    u32 lane = threadIdx.x & 31, sequence = blockIdx.z, head = blockIdx.y, kv = head / (heads / kv_heads);
    u32 first = part * 64 + (threadIdx.x >> 5) * 16, g = lane >> 2, c = lane & 3;
    u32 start = starts[sequence], chunk = starts[sequence + 1] - start, before = befores[sequence];
    if (part * 64 >= chunk) return;
    const u16* query = q + ((u64)(start + first) * heads + head) * DIM;
    u64 step = (u64)heads * DIM, token = (u64)kv_heads * DIM;
    u32 queries[STEPS][4];
    load_queries(queries, first + g < chunk ? query + g * step : 0, first + g + 8 < chunk ? query + (g + 8) * step : 0);
    float result[TILES][4] = {};
    Softmax state = {{NONE, NONE}, {0.0f, 0.0f}};
    // Keys that this warp sees (none, if the chunk ends before it), and those of the block.
    u32 seen = first < chunk ? before + min(first + 16, chunk) : 0, all = before + min(part * 64 + 64, chunk);
    u32 last_page = (all - 1) / PAGE;

    auto load = [&](u32 tile) {
        const int pieces = ROW / 16;
#pragma unroll
        for (u32 i = 0; i < KEYS * pieces / 128; i++) {
            u32 at = i * 128 + threadIdx.x, key = at / pieces, place = at % pieces * 16;
            u64 page = page_of(table, sequence, stride, min(tile * (KEYS / PAGE) + key / PAGE, last_page));
            u64 from = (page * PAGE + key % PAGE) * token + (u64)kv * DIM;
            copy_async(&tiles[tile & 1][0][key * ROW + (place ^ key_flip(key))], (const u8*)(keys + from) + place);
            copy_async(&tiles[tile & 1][1][key * ROW + (place ^ value_flip(key))], (const u8*)(values + from) + place);
        }
        copies_group();
    };

    load(0);
    for (u32 tile = 0; tile * KEYS < all; tile++) {
        if ((tile + 1) * KEYS < all) {
            load(tile + 1);
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        if (tile * KEYS < seen) {
            const Kv* key_rows = (const Kv*)tiles[tile & 1][0];
            const Kv* value_rows = (const Kv*)tiles[tile & 1][1];
            float scores[KEYS / 8][4] = {};
            bool whole = tile * KEYS + KEYS <= before + first + 1;
#pragma unroll
            for (int block = 0; block < KEYS / 8; block++) {
                multiply_keys(scores[block], queries, key_rows + (8 * block + g) * DIM, key_flip(g));
                for (int i = 0; i < 4; i++) {
                    u32 key = tile * KEYS + 8 * block + 2 * c + (i & 1), at = before + first + g + (i < 2 ? 0 : 8);
                    scores[block][i] = whole || key <= at ? scores[block][i] * SCALE : NONE;
                }
            }
            u32 weights[KEYS / 16][4];
            absorb(state, result, scores, weights);
#pragma unroll
            for (int half = 0; half < KEYS / 16; half++) {
                const Kv* at = value_rows + 16 * half * DIM;
                const Kv* rows[4] = {at + (2 * c) * DIM, at + (2 * c + 1) * DIM, at + (2 * c + 8) * DIM, at + (2 * c + 9) * DIM};
                multiply_values(result, weights[half], rows, value_flip(2 * c));
            }
        }
        __syncthreads();
    }
    for (int row = 0; row < 2; row++) {
        float sum = row_sum(state.sum[row]);
        u32 at = first + g + 8 * row;
        if (at >= chunk) continue;
        u16* to = out + ((u64)(start + at) * heads + head) * DIM;
        for (int t = 0; t < TILES; t++) {
            for (int i = 0; i < 2; i++) to[dimension(t, i)] = float_to_bf16(result[t][2 * row + i] / sum);
        }
    }
}
