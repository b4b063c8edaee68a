//! The KV blocks of one device: reference counts, the queue of free blocks, and what cached blocks hold.

/// The end of all lists; block 0 is the null block, which heads the free queue and is never in it. In a block table
/// it stands for one that is needed no more.
pub(super) const NULL: u32 = 0;

const EMPTY: Bucket = Bucket { oldest: NULL, youngest: NULL };

#[derive(Debug, Clone, Copy)]
struct Block {
    references: u32,
    /// Neighbours in the free queue, meaningful only while `references` is 0.
    previous: u32,
    next: u32,
    /// The key of its content, if known.
    content: Option<u64>,
    /// Neighbours among the known blocks of its bucket, meaningful only with `content`.
    older: u32,
    younger: u32,
}

/// The known blocks whose keys end in the same bits, oldest first.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    oldest: u32,
    youngest: u32,
}

/// A block pool with vLLM's eviction order (`vllm/v1/core/block_pool.py`, 0.11.0).
///
/// A block without references is in the free queue, whether or not its content is still known. Blocks are
/// taken from the head and returned to the tail; taking a block whose content was known evicts it. A hit on
/// a free block takes it out of the middle of the queue.
#[derive(Debug, Clone)]
pub(super) struct BlockPool {
    blocks: Vec<Block>,
    free: u32,
    /// A hash table with as many places as a power of two that is no smaller than the number of blocks.
    /// Blocks of equal content are all kept, and the oldest is found: vLLM does not merge them either.
    buckets: Vec<Bucket>,
}

impl BlockPool {
    /// A pool of `num_blocks` blocks, the null block among them.
    pub(super) fn new(num_blocks: u32) -> Self {
        let blank =
            Block { references: 0, previous: NULL, next: NULL, content: None, older: NULL, younger: NULL };
        let mut pool = Self {
            blocks: vec![blank; num_blocks as usize],
            free: 0,
            buckets: vec![EMPTY; (num_blocks as usize).next_power_of_two()],
        };
        pool.reset();
        pool
    }

    /// Frees and forgets everything; the queue is in the order of block numbers again.
    pub(super) fn reset(&mut self) {
        self.buckets.fill(EMPTY);
        self.free = 0;
        let head = &mut self.blocks[NULL as usize];
        (head.previous, head.next) = (NULL, NULL);
        for block in 1..self.blocks.len() as u32 {
            self.blocks[block as usize].references = 0;
            self.blocks[block as usize].content = None;
            self.push_free(block);
        }
    }

    /// Blocks that nobody refers to, cached ones among them.
    pub(super) fn free_blocks(&self) -> u32 {
        self.free
    }

    /// Blocks that somebody refers to.
    pub(super) fn used_blocks(&self) -> u32 {
        self.blocks.len() as u32 - 1 - self.free
    }

    /// Whether nobody refers to `block`.
    pub(super) fn is_free(&self, block: u32) -> bool {
        self.blocks[block as usize].references == 0
    }

    /// Takes the free block that was returned longest ago; its content, if known, is forgotten.
    ///
    /// # Panics
    /// If no block is free.
    pub(super) fn allocate(&mut self) -> u32 {
        let block = self.blocks[NULL as usize].next;
        assert!(block != NULL, "no free KV block: the caller compares with free_blocks() first");
        self.unlink_free(block);
        self.forget(block);
        self.blocks[block as usize].references = 1;
        block
    }

    /// Adds a reference to a cached block, free or not; none to the null block.
    pub(super) fn share(&mut self, block: u32) {
        if block == NULL {
            return;
        }
        if self.is_free(block) {
            self.unlink_free(block);
        }
        self.blocks[block as usize].references += 1;
    }

    /// Removes a reference; without any, the block goes to the tail of the free queue. The null block has none.
    pub(super) fn release(&mut self, block: u32) {
        if block == NULL {
            return;
        }
        let references = &mut self.blocks[block as usize].references;
        *references = references.checked_sub(1).expect("a block is released once per reference");
        if *references == 0 {
            self.push_free(block);
        }
    }

    /// The oldest block with the content `key`.
    pub(super) fn find(&self, key: u64) -> Option<u32> {
        let mut block = self.buckets[self.bucket(key)].oldest;
        while block != NULL && self.blocks[block as usize].content != Some(key) {
            block = self.blocks[block as usize].younger;
        }
        (block != NULL).then_some(block)
    }

    /// Notes that `block`, in use, is full and what it holds.
    pub(super) fn register(&mut self, block: u32, key: u64) {
        debug_assert!(self.blocks[block as usize].content.is_none() && !self.is_free(block));
        let bucket = self.bucket(key);
        let older = std::mem::replace(&mut self.buckets[bucket].youngest, block);
        if older == NULL {
            self.buckets[bucket].oldest = block;
        } else {
            self.blocks[older as usize].younger = block;
        }
        let record = &mut self.blocks[block as usize];
        (record.content, record.older, record.younger) = (Some(key), older, NULL);
    }

    /// Forgets what `block` holds, if that was known.
    pub(super) fn forget(&mut self, block: u32) {
        let Block { older, younger, .. } = self.blocks[block as usize];
        let Some(key) = self.blocks[block as usize].content.take() else { return };
        let bucket = self.bucket(key);
        if older == NULL {
            self.buckets[bucket].oldest = younger;
        } else {
            self.blocks[older as usize].younger = younger;
        }
        if younger == NULL {
            self.buckets[bucket].youngest = older;
        } else {
            self.blocks[younger as usize].older = older;
        }
    }

    /// Forgets what all free blocks hold; they stay in their order.
    pub(super) fn forget_free(&mut self) {
        for block in 1..self.blocks.len() as u32 {
            if self.is_free(block) {
                self.forget(block);
            }
        }
    }

    /// The place of a key, which is a hash already.
    fn bucket(&self, key: u64) -> usize {
        key as usize & (self.buckets.len() - 1)
    }

    fn push_free(&mut self, block: u32) {
        let tail = self.blocks[NULL as usize].previous;
        self.blocks[block as usize].previous = tail;
        self.blocks[block as usize].next = NULL;
        self.blocks[tail as usize].next = block;
        self.blocks[NULL as usize].previous = block;
        self.free += 1;
    }

    fn unlink_free(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        self.blocks[previous as usize].next = next;
        self.blocks[next as usize].previous = previous;
        self.free -= 1;
    }

    /// Checks the pool against the block tables of all sequences: O(blocks).
    #[cfg(test)]
    pub(super) fn check<'a>(&self, tables: impl Iterator<Item = &'a [u32]>) {
        let mut references = vec![0u32; self.blocks.len()];
        for block in tables.flatten().filter(|block| **block != NULL) {
            references[*block as usize] += 1;
        }
        for (number, block) in self.blocks.iter().enumerate().skip(1) {
            assert_eq!(block.references, references[number], "references of block {number}");
            let bucket = block.content.map(|key| self.bucket_list(self.bucket(key)));
            assert!(bucket.is_none_or(|bucket| bucket.contains(&(number as u32))));
        }
        let listed: usize = (0..self.buckets.len()).map(|bucket| self.bucket_list(bucket).len()).sum();
        assert_eq!(listed, self.blocks.iter().filter(|block| block.content.is_some()).count());
        let queue = self.free_queue();
        assert_eq!(queue.len() as u32, self.free);
        assert_eq!(self.free as usize, references.iter().skip(1).filter(|count| **count == 0).count());
        assert!(queue.iter().all(|block| self.is_free(*block)));
    }

    /// The known blocks of a bucket, oldest first.
    #[cfg(test)]
    fn bucket_list(&self, bucket: usize) -> Vec<u32> {
        let listed = |block: u32| Some(block).filter(|block| *block != NULL);
        let Bucket { oldest, youngest } = self.buckets[bucket];
        let next = |block: &u32| listed(self.blocks[*block as usize].younger);
        let list: Vec<u32> = std::iter::successors(listed(oldest), next).take(self.blocks.len()).collect();
        assert_eq!(list.last().copied(), listed(youngest));
        list
    }

    /// The free blocks in the order in which they will be taken.
    #[cfg(test)]
    pub(super) fn free_queue(&self) -> Vec<u32> {
        let next = |block: u32| Some(self.blocks[block as usize].next).filter(|next| *next != NULL);
        std::iter::successors(next(NULL), |block| next(*block)).take(self.blocks.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_least_recently_freed_first() {
        let mut pool = BlockPool::new(5);
        assert_eq!(pool.free_queue(), [1, 2, 3, 4]);
        let taken: Vec<u32> = (0..3).map(|_| pool.allocate()).collect();
        assert_eq!(taken, [1, 2, 3]);
        for block in [3, 1] {
            pool.release(block);
        }
        assert_eq!(pool.free_queue(), [4, 3, 1]);
        assert_eq!((pool.free_blocks(), pool.used_blocks()), (3, 1));
        pool.check([[2].as_slice()].into_iter());
    }

    #[test]
    fn a_cached_block_is_found_until_it_is_taken_again() {
        let mut pool = BlockPool::new(3);
        let block = pool.allocate();
        pool.register(block, 77);
        pool.release(block);
        assert_eq!(pool.find(77), Some(block));
        assert_eq!(pool.allocate(), 2);
        assert_eq!(pool.find(77), Some(block), "the other block was freed longer ago");
        assert_eq!(pool.allocate(), block);
        assert_eq!(pool.find(77), None);
    }

    #[test]
    fn a_hit_takes_a_free_block_out_of_the_queue() {
        let mut pool = BlockPool::new(4);
        let blocks: Vec<u32> = (0..3).map(|_| pool.allocate()).collect();
        pool.register(blocks[1], 5);
        blocks.iter().for_each(|block| pool.release(*block));
        pool.share(2);
        pool.share(2);
        assert_eq!(pool.free_queue(), [1, 3]);
        pool.release(2);
        assert!(!pool.is_free(2));
        pool.release(2);
        assert_eq!(pool.free_queue(), [1, 3, 2]);
    }

    #[test]
    fn of_equal_blocks_the_oldest_is_found() {
        let mut pool = BlockPool::new(6);
        let blocks: Vec<u32> = (0..5).map(|_| pool.allocate()).collect();
        // 9 and 17 end in the same three bits.
        for (block, key) in [(4, 17), (2, 9), (0, 9), (3, 17), (1, 9)] {
            pool.register(blocks[block], key);
        }
        for (forgotten, nines, seventeens) in
            [(0, Some(2), Some(4)), (2, Some(1), Some(4)), (4, Some(1), Some(3)), (1, None, Some(3))]
        {
            pool.forget(blocks[forgotten]);
            assert_eq!(pool.find(9), nines.map(|block: usize| blocks[block]));
            assert_eq!(pool.find(17), seventeens.map(|block: usize| blocks[block]));
            pool.check([blocks.as_slice()].into_iter());
        }
        assert_eq!((pool.find(1), pool.find(8)), (None, None));
    }
}
