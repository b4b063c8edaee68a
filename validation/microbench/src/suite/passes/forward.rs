//! One forward pass.
//!
//! Weights are windows of the pool, each layer's its own, one after the other; where a model has more than the pool
//! holds it begins anew, which no cache notices. Keys and values likewise.

use sim_models::hardware::catalogue::Model;
use sim_models::hardware::microbench::{Format, PassShape};

use super::super::attention::{PAGE, Places, Scratch, decode_on, prefill_on, shuffled};
use super::super::gemm::padded;
use super::super::{Attention, Suite};
use crate::cuda::{Arg, Buffer, Error, Product, Result, element_bytes};

/// A pass, ready to be put on the stream.
pub(in crate::suite) struct Forward {
    model: Model,
    format: Format,
    kv: Format,
    attention: Attention,
    tokens: u64,
    decodes: u64,
    sequences: u64,
    chunks: u64,
    longest: u64,
    /// qkv, out, gate and up, down, output layer.
    products: [Product; 5],
    scratch: Option<Scratch>,
    pages: u64,
    /// Bytes of a layer's keys, and how many layers' there is room for: they take turns.
    layer_kv: u64,
    regions: u64,
    table: Buffer,
    contexts: Buffer,
    starts: Buffer,
    befores: Buffer,
    positions: Buffer,
    slots: Buffer,
    lasts: Buffer,
    x: Buffer,
    residual: Buffer,
    normed: Buffer,
    qkv: Buffer,
    q: Buffer,
    mixed: Buffer,
    narrow: Buffer,
    inner: Buffer,
    active: Buffer,
    last: Buffer,
    logits: Buffer,
    chosen: Buffer,
}

impl Forward {
    /// Prepares a pass.
    pub(in crate::suite) fn new(
        suite: &Suite,
        model: &Model,
        format: Format,
        kv: Format,
        shape: &PassShape,
    ) -> Result<Self> {
        let supported =
            model.experts == 1 && model.latent.is_none() && model.sliding.is_none() && model.gated_ffn;
        if !supported || !matches!(format, Format::Bf16 | Format::Fp8) {
            return Err(Error::Other(format!("{} in {format:?}: no such pass is built", model.id)));
        }
        let gpu = &suite.gpu;
        let (decodes, chunks) = (shape.decode.len() as u64, shape.prefill.len() as u64);
        let prefilled: u64 = shape.prefill.iter().map(|(_, chunk)| u64::from(*chunk)).sum();
        let (tokens, sequences) = (decodes + prefilled, decodes + chunks);
        let ends = shape.prefill.iter().map(|(before, chunk)| before + chunk);
        let pages = shape.decode.iter().copied().chain(ends).max().unwrap_or(1);
        let pages = u64::from(pages).div_ceil(PAGE);
        let narrow = element_bytes(kv);
        let page_bytes = PAGE * model.kv_heads * model.head_dim * narrow;
        let there = suite.cache.bytes / 2 / 256 * 256 / page_bytes;
        if sequences * pages > there {
            return Err(Error::Other(format!(
                "{} pages of KV: there is room for {there}",
                sequences * pages
            )));
        }
        let table = shuffled(sequences * pages, 4);
        let layer_kv = sequences * pages * page_bytes;
        let slot = |sequence: u64, position: u32| {
            let page = table[(sequence * pages) as usize + position as usize / PAGE as usize];
            page * PAGE as u32 + position % PAGE as u32
        };
        let (mut positions, mut slots, mut lasts, mut starts) = (vec![], vec![], vec![], vec![0_u32]);
        for (sequence, context) in shape.decode.iter().enumerate() {
            let position = context.saturating_sub(1);
            positions.push(position);
            slots.push(slot(sequence as u64, position));
            lasts.push(sequence as u32);
        }
        for (index, (before, chunk)) in shape.prefill.iter().enumerate() {
            for position in *before..before + chunk {
                positions.push(position);
                slots.push(slot(decodes + index as u64, position));
            }
            starts.push(starts[index] + chunk);
            lasts.push(positions.len() as u32 - 1);
        }
        let befores: Vec<u32> = shape.prefill.iter().map(|(before, _)| *before).chain([0]).collect();
        let longest = shape.prefill.iter().map(|(_, chunk)| u64::from(*chunk)).max().unwrap_or(0);
        let contexts: Vec<u32> = shape.decode.iter().copied().chain([0]).collect();

        let rows = padded(format, tokens);
        let out = model.heads * model.head_dim;
        let product = |m, n, k| suite.lt.product(format, m, n, k, false);
        let products = [
            product(rows, model.qkv_width(), model.hidden)?,
            product(rows, model.hidden, out)?,
            product(rows, 2 * model.ffn, model.hidden)?,
            product(rows, model.hidden, model.ffn)?,
            // The output layer stays in 16 bits, and logits are wide.
            suite.lt.product(Format::Bf16, sequences, model.vocab, model.hidden, true)?,
        ];
        let room = |width: u64| gpu.alloc(rows * width * 2);
        let attention = suite.attention(model.head_dim, kv == Format::Fp8)?;
        let scratch = (decodes > 0)
            .then(|| {
                Scratch::new(gpu, &attention, &shape.decode, model.heads, model.kv_heads, model.head_dim)
            })
            .transpose()?;
        let forward = Self {
            attention,
            format,
            kv,
            tokens,
            decodes,
            sequences,
            chunks,
            longest,
            products,
            scratch,
            pages,
            layer_kv,
            regions: there / (sequences * pages).max(1),
            table: gpu.buffer_of(&table)?,
            contexts: gpu.buffer_of(&contexts)?,
            starts: gpu.buffer_of(&starts)?,
            befores: gpu.buffer_of(&befores)?,
            positions: gpu.buffer_of(&positions)?,
            slots: gpu.buffer_of(&slots)?,
            lasts: gpu.buffer_of(&lasts)?,
            x: room(model.hidden)?,
            residual: room(model.hidden)?,
            normed: room(model.hidden)?,
            qkv: room(model.qkv_width())?,
            q: room(out)?,
            mixed: room(out)?,
            narrow: room(out)?,
            inner: room(2 * model.ffn)?,
            active: room(model.ffn)?,
            last: gpu.alloc(sequences * model.hidden * 2)?,
            logits: gpu.alloc(sequences * model.vocab * 4)?,
            chosen: gpu.alloc(sequences * 8)?,
            model: model.clone(),
        };
        gpu.copy(forward.x.at, suite.pool.at, forward.x.bytes.min(suite.pool.bytes))?;
        gpu.copy(forward.residual.at, suite.pool.at, forward.residual.bytes.min(suite.pool.bytes))?;
        gpu.wait()?;
        Ok(forward)
    }

    /// Puts the pass on the stream.
    pub(in crate::suite) fn record(&self, suite: &Suite) -> Result<()> {
        let (gpu, lt, kernels, model) = (&suite.gpu, &suite.lt, &suite.kernels, &self.model);
        let (hidden, out) = (model.hidden, model.heads * model.head_dim);
        let mut used = 0_u64;
        // The next weights of `n x k`; where the pool ends, it begins anew.
        let mut weights = |n: u64, k: u64, format: Format| {
            let bytes = (n * k * element_bytes(format)).next_multiple_of(256);
            if used + bytes > suite.pool.bytes {
                used = 0;
            }
            let at = suite.pool.at + used;
            used += bytes;
            if bytes > suite.pool.bytes {
                Err(Error::Other("no room for the weights".into()))
            } else {
                Ok(at)
            }
        };
        let is_fp8 = self.format == Format::Fp8;
        let norm = |x: u64, to_e4m3: bool| {
            let places = [x, self.residual.at, suite.pool.at, self.normed.at];
            kernels.norm_on(gpu, places, self.tokens, hidden, to_e4m3)
        };
        let half = suite.cache.bytes / 2 / 256 * 256;
        self.look_up(suite)?;
        for layer in 0..model.layers {
            norm(self.x.at, is_fp8)?;
            lt.run(
                gpu,
                &self.products[0],
                weights(model.qkv_width(), hidden, self.format)?,
                self.normed.at,
                self.qkv.at,
            )?;
            let shift = layer % self.regions * self.layer_kv;
            let (keys, values) = (suite.cache.at + shift, suite.cache.at + half + shift);
            self.rotate(suite, keys, values)?;
            self.attend(suite, keys, values)?;
            let mut from = self.mixed.at;
            if is_fp8 {
                kernels.narrow_on(gpu, [from, self.narrow.at], self.tokens * out / 2)?;
                from = self.narrow.at;
            }
            lt.run(gpu, &self.products[1], weights(hidden, out, self.format)?, from, self.x.at)?;
            norm(self.x.at, is_fp8)?;
            lt.run(
                gpu,
                &self.products[2],
                weights(2 * model.ffn, hidden, self.format)?,
                self.normed.at,
                self.inner.at,
            )?;
            let places = [self.inner.at, self.active.at];
            kernels.silu_on(gpu, places, self.tokens, model.ffn, is_fp8)?;
            lt.run(
                gpu,
                &self.products[3],
                weights(hidden, model.ffn, self.format)?,
                self.active.at,
                self.x.at,
            )?;
        }
        norm(self.x.at, false)?;
        self.rows(suite, self.normed.at, self.lasts.at, self.last.at, self.sequences)?;
        lt.run(
            gpu,
            &self.products[4],
            weights(model.vocab, hidden, Format::Bf16)?,
            self.last.at,
            self.logits.at,
        )?;
        let args = [
            Arg::Wide(self.logits.at),
            Arg::Wide(self.chosen.at),
            Arg::Wide(self.chosen.at + 4 * self.sequences),
            Arg::Narrow(model.vocab as u32),
            Arg::Narrow(1),
        ];
        gpu.launch(kernels.sample, [self.sequences as u32, 1, 1], 1024, &args)
    }

    /// The tokens' embeddings: rows of the pool.
    fn look_up(&self, suite: &Suite) -> Result<()> {
        self.rows(suite, suite.pool.at, self.positions.at, self.x.at, self.tokens)
    }

    fn rows(&self, suite: &Suite, from: u64, ids: u64, to: u64, count: u64) -> Result<()> {
        let args = [
            Arg::Wide(from),
            Arg::Wide(ids),
            Arg::Wide(to),
            Arg::Narrow(self.model.hidden as u32),
            Arg::Narrow(1),
        ];
        suite.gpu.launch(suite.kernels.embedding_bag, [count as u32, 1, 1], 256, &args)
    }

    fn rotate(&self, suite: &Suite, keys: u64, values: u64) -> Result<()> {
        let model = &self.model;
        let places = [self.qkv.at, self.q.at, keys, values, self.positions.at, self.slots.at];
        let shape = [model.heads, model.kv_heads, model.head_dim];
        suite.kernels.rope_on(&suite.gpu, places, self.tokens, shape, self.kv == Format::Fp8)
    }

    fn attend(&self, suite: &Suite, keys: u64, values: u64) -> Result<()> {
        let model = &self.model;
        let width = model.heads * model.head_dim * 2;
        let at = |token: u64, sequence: u64| Places {
            q: self.q.at + token * width,
            keys,
            values,
            table: self.table.at + 4 * sequence * self.pages,
            stride: self.pages,
            out: self.mixed.at + token * width,
        };
        if let Some(scratch) = &self.scratch {
            let shape = (model.heads, model.kv_heads, model.head_dim);
            let contexts = self.contexts.at;
            decode_on(
                &suite.gpu,
                &self.attention,
                scratch,
                at(0, 0),
                contexts,
                self.decodes,
                shape.0,
                shape.1,
                shape.2,
            )?;
        }
        if self.chunks > 0 {
            let (starts, befores) = (self.starts.at, self.befores.at);
            let place = at(self.decodes, self.decodes);
            let sizes = (self.chunks, self.longest);
            prefill_on(
                &suite.gpu,
                &self.attention,
                place,
                starts,
                befores,
                sizes,
                model.heads,
                model.kv_heads,
            )?;
        }
        Ok(())
    }
}
