// Package ext2 reads and writes ext2 file systems. It also supports ext4 file systems whose
// features work without a journal (extents, 64 bits, checksums, uninitialized groups). It
// knows blocks and inodes, and nothing of processes or paths.
//
// # Order
//
// There is no journal, so the file system stays repairable by the order of metadata writes.
// Trials have shown what `e2fsck -p` repairs without a question: names of unused inodes,
// wrong link counts, wrong bitmaps and counts. It does not repair an inode with data and no name, a
// directory with two names or a wrong "..", or a block that belongs to two files. So these
// rules hold, and power may be lost at any time:
//
//   - A name reaches the disk before the inode that it leads to. A directory's first block
//     reaches the disk before both.
//   - The deletion of an inode reaches the disk before the removal of its name.
//   - A directory's inode is written before the inodes of what was made in it, and is deleted
//     after them.
//   - Data reach the disk before the inode or block that points to them, and a block of
//     pointers before the pointer to it. A full block of pointers is replaced by two new ones,
//     by one write of its parent.
//   - A freed block or inode is not used again until the change that freed it is on disk.
//   - rename makes the new name before it removes the old one. If another file loses that
//     name, it is given a name in lost+found meanwhile.
//   - A directory cannot be moved to another directory under these rules. The call fails
//     with EXDEV, and programs then copy.
//
// Changes wait in stages (queue.go). The blocks of one stage may be written in any order,
// and a flush separates it from the next stage. A change joins the last stage that its
// block is in, if that stage is after all that must precede the change. So a thousand new
// files need only a few stages more than one new file.
//
// An unlinked file that is still open has no links on disk, and its blocks stay allocated
// until Forget. It is an orphan, but there is no orphan list: after a crash e2fsck frees
// the blocks.
//
// # Context
//
// All methods may be called from any goroutine. They sleep as long as the device takes.
// FS.mu is held while metadata are read; data are read and written without it. Nothing in
// an image is trusted: what makes no sense gives EUCLEAN, a wrong checksum EBADMSG, and
// nothing causes a panic. If a change meets such an error, or the device fails in the
// middle of a change, the file system is read-only from then on.
//
// Lock order:
//
//	FS.commitMu     one commit at a time
//	    FS.mu       everything else
package ext2
