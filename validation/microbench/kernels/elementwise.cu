// Everything of a forward pass that is neither a matrix product nor attention.

// Random data: 0 bf16, 1 e4m3, 2 any bits (int8), 3 fp32, 4 fp16; all numbers lie within 2 of zero but int8.
KERNEL void fill(u32* out, u64 words, u32 seed, u32 kind) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
        u32 bits = hash((u32)i ^ hash((u32)(i >> 32) ^ seed));
        float low = (float)(bits & 0xffffu) * 0x1p-15f - 1.0f;
        float high = (float)(bits >> 16) * 0x1p-15f - 1.0f;
        u32 word = bits;
        if (kind == 0) word = two_bf16(low, high);
        if (kind == 1) word = bits & 0xbfbfbfbfu;
        if (kind == 3) word = __float_as_uint(low);
        if (kind == 4) word = (bits & 0x83ff83ffu) | 0x34003400u;
        out[i] = word;
    }
}

KERNEL void nothing() {}

KERNEL void copy_words(const uint4* from, uint4* to, u64 count) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) to[i] = from[i];
}

KERNEL void read_words(const uint4* from, u32* out, u64 count) {
    u64 step = (u64)gridDim.x * blockDim.x;
    u32 all = 0;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        uint4 word = from[i];
        all ^= word.x ^ word.y ^ word.z ^ word.w;
    }
    // Never so for random data, but the compiler must keep the reads.
    if (all == 0x9e3779b9u) out[0] = all;
}

// residual += x; out = residual / rms(residual) * weight. A block a token; `width` is a multiple of 2.
KERNEL void add_rms_norm(const u32* x, u32* residual, const u32* weight, void* out, u32 width, u32 to_e4m3) {
    __shared__ float room[32];
    u64 row = (u64)blockIdx.x * (width / 2);
    float squares = 0.0f;
    for (u32 i = threadIdx.x; i < width / 2; i += blockDim.x) {
        u32 a = x[row + i], b = residual[row + i];
        float low = bf16_to_float((u16)a) + bf16_to_float((u16)b);
        float high = bf16_to_float((u16)(a >> 16)) + bf16_to_float((u16)(b >> 16));
        residual[row + i] = two_bf16(low, high);
        squares += low * low + high * high;
    }
    float scale = rsqrtf(block_reduce(squares, room, false) / (float)width + 1e-5f);
    for (u32 i = threadIdx.x; i < width / 2; i += blockDim.x) {
        u32 value = residual[row + i], by = weight[i];
        float low = bf16_to_float((u16)value) * scale * bf16_to_float((u16)by);
        float high = bf16_to_float((u16)(value >> 16)) * scale * bf16_to_float((u16)(by >> 16));
        if (to_e4m3) {
            ((u16*)out)[row + i] = (u16)(float_to_e4m3(low) | (float_to_e4m3(high) << 8));
        } else {
            ((u32*)out)[row + i] = two_bf16(low, high);
        }
    }
}

// Rotary positions (halves of a head, base 500,000 as Llama 3), and keys and values into the cache of pages of 16
// tokens. A block a token. `slots[token]` is its place in the cache: page * 16 + place in the page.
KERNEL void rope_cache(const u16* qkv, u16* q, void* keys, void* values, const u32* positions, const u32* slots,
                       u32 heads, u32 kv_heads, u32 dim, u32 to_e4m3) {
    u32 token = blockIdx.x, half = dim / 2;
    const u16* row = qkv + (u64)token * (heads + 2 * kv_heads) * dim;
    float position = (float)positions[token];
    u64 slot = (u64)slots[token] * kv_heads * dim;
    for (u32 i = threadIdx.x; i < (heads + kv_heads) * half; i += blockDim.x) {
        u32 head = i / half, pair = i % half;
        float angle = position * exp2f(-18.931568569f * (float)pair / (float)half);
        float s = sinf(angle), c = cosf(angle);
        float a = bf16_to_float(row[head * dim + pair]), b = bf16_to_float(row[head * dim + pair + half]);
        float first = a * c - b * s, second = b * c + a * s;
        if (head < heads) {
            u16* to = q + (u64)token * heads * dim + head * dim + pair;
            to[0] = float_to_bf16(first);
            to[half] = float_to_bf16(second);
        } else if (to_e4m3) {
            u8* to = (u8*)keys + slot + (head - heads) * dim + pair;
            to[0] = float_to_e4m3(first);
            to[half] = float_to_e4m3(second);
        } else {
            u16* to = (u16*)keys + slot + (head - heads) * dim + pair;
            to[0] = float_to_bf16(first);
            to[half] = float_to_bf16(second);
        }
    }
    const u16* v = row + (heads + kv_heads) * dim;
    for (u32 i = threadIdx.x; i < kv_heads * dim; i += blockDim.x) {
        if (to_e4m3) {
            ((u8*)values)[slot + i] = float_to_e4m3(bf16_to_float(v[i]));
        } else {
            ((u16*)values)[slot + i] = v[i];
        }
    }
}

// out = silu(gate) * up, where a row of `in` holds the gates and then the ups. Grid: (parts of a row, tokens).
KERNEL void silu_mul(const u32* in, void* out, u32 width, u32 to_e4m3) {
    u32 half = width / 2;
    const u32* row = in + (u64)blockIdx.y * width;
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < half; i += gridDim.x * blockDim.x) {
        u32 gate = row[i], up = row[half + i];
        float a = bf16_to_float((u16)gate), b = bf16_to_float((u16)(gate >> 16));
        float low = a / (1.0f + expf(-a)) * bf16_to_float((u16)up);
        float high = b / (1.0f + expf(-b)) * bf16_to_float((u16)(up >> 16));
        if (to_e4m3) {
            ((u16*)out)[(u64)blockIdx.y * half + i] = (u16)(float_to_e4m3(low) | (float_to_e4m3(high) << 8));
        } else {
            ((u32*)out)[(u64)blockIdx.y * half + i] = two_bf16(low, high);
        }
    }
}

// The sum of `pooling` rows of a table of bf16: a block an output. With a pooling of 1 it looks up tokens' embeddings.
KERNEL void embedding_bag(const u32* table, const u32* ids, u32* out, u32 width, u32 pooling) {
    u64 bag = blockIdx.x;
    for (u32 i = threadIdx.x; i < width / 2; i += blockDim.x) {
        float low = 0.0f, high = 0.0f;
        for (u32 j = 0; j < pooling; j++) {
            u32 value = table[(u64)ids[bag * pooling + j] * (width / 2) + i];
            low += bf16_to_float((u16)value);
            high += bf16_to_float((u16)(value >> 16));
        }
        out[bag * (width / 2) + i] = two_bf16(low, high);
    }
}

// Draws a token of softmax(logits) by dividing each probability by exponential noise and taking the largest, as
// vLLM does: three passes over the logits. A block a sequence. `chosen` holds the token and `best` its probability.
KERNEL void sample(const float* logits, u32* chosen, float* best, u32 vocabulary, u32 seed) {
    __shared__ float room[32];
    __shared__ u32 winner;
    const float* row = logits + (u64)blockIdx.x * vocabulary;
    float most = -3e38f, sum = 0.0f;
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) most = fmaxf(most, row[i]);
    most = block_reduce(most, room, true);
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) sum += expf(row[i] - most);
    sum = block_reduce(sum, room, false);
    float score = -1.0f, share = 0.0f;
    u32 token = 0;
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        float probability = expf(row[i] - most) / sum;
        u32 bits = hash(i ^ hash(blockIdx.x ^ seed));
        float noise = -logf(((float)(bits >> 8) + 0.5f) * 0x1p-24f);
        if (probability / noise > score) {
            score = probability / noise;
            share = probability;
            token = i;
        }
    }
    float highest = block_reduce(score, room, true);
    if (threadIdx.x == 0) winner = 0xffffffffu;
    __syncthreads();
    if (score == highest) atomicMin(&winner, token);
    __syncthreads();
    if (score == highest && token == winner) {
        chosen[blockIdx.x] = token;
        best[blockIdx.x] = share;
    }
}

// bf16 to e4m3, two at a time.
KERNEL void to_e4m3(const u32* in, u16* out, u64 pairs) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < pairs; i += step) {
        u32 pair = in[i];
        out[i] = (u16)(float_to_e4m3(bf16_to_float((u16)pair)) | (float_to_e4m3(bf16_to_float((u16)(pair >> 16))) << 8));
    }
}
