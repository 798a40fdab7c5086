# SPDX-License-Identifier: Apache-2.0
"""The bugs that tests/seeded.py puts into copies: one text for another, and who must see it.

The text is found exactly once, or the tool says so: whoever changes that code moves the bug to
where it can be made now. The tests are the fewest that should see it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BUGS", "Bug"]


class Bug(NamedTuple):
    """One text of one file, what stands there instead, and the tests that must fail."""

    name: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]


SAVE = "tests/test_save.py::test_"
STEPS = SAVE + "the_steps_of_a_durable_save_come_in_their_order"
FAILING = SAVE + "whichever_call_fails_the_old_file_stays_and_nothing_else"
MODE = SAVE + "the_mode_of_a_file_is_kept_and_a_new_one_gets_what_the_umask_says"
APPEND = "tests/test_append_crash.py::test_"
APPEND_CUT = APPEND + "a_power_cut_leaves_the_last_commit_or_the_one_in_progress"
APPEND_FAILING = (
    APPEND + "whichever_call_fails_the_last_commit_is_there_and_the_writer_goes_on_or_says_so"
)
ONCE_MORE = (
    "tests/test_crash.py::test_"
    "what_a_power_cut_leaves_after_a_call_has_failed_and_was_tried_once_more"
)
CORRUPT = "tests/test_corrupt.py::test_"
REFUSED = CORRUPT + "a_broken_file_is_refused"
HOSTILE = CORRUPT + "hostile_numbers_are_refused_with_little_memory"
CHUNK = CORRUPT + "a_damaged_chunk_is_named"
DELTA = "tests/test_delta.py::test_"
FAULTS = "tests/test_faults.py::test_whatever_fails_is_told_and_nothing_is_lost_leaked_or_left"
ROUND = "tests/test_roundtrip.py::test_"
LAYOUTS = ROUND + "a_dtype_comes_back_from_every_layout_by_every_way"
LAZY = "tests/test_lazy.py::test_"
GATHER = "tests/test_gather.py::test_"
WRITER = "tests/test_writer.py::test_"
STEP = "tests/test_checkpoint.py::test_"
ASYNC = "tests/test_checkpoint_async.py::test_"
CUT_STEPS = (
    "tests/test_checkpoint_crash.py::"
    "test_after_every_power_cut_the_newest_step_that_was_saved_is_restored"
)

SYNC_OF_FILE = """\
    if (sync) {
        failed = mxio_os_sync(file->fd);
        if (failed != 0) {
            return fail_io(err, failed, "cannot sync it to the disk");
        }
    }
"""
RENAME = """\
    failed = mxio_os_rename(&file->place, file->temporary, file->exclusive);
    if (failed != 0) {
        return fail_io(err, failed, "cannot put it in place");
    }
"""

BUGS = (
    # ---- a file that appears whole, and stays
    Bug("save: no sync of the file", "csrc/file.c", SYNC_OF_FILE + RENAME, RENAME, (STEPS,)),
    Bug(
        "save: no sync of the folder",
        "csrc/file.c",
        "failed = mxio_os_sync_folder(&file->place);",
        "failed = 0;",
        (STEPS,),
    ),
    Bug(
        "save: rename before sync",
        "csrc/file.c",
        SYNC_OF_FILE + RENAME,
        RENAME + SYNC_OF_FILE,
        (STEPS,),
    ),
    Bug(
        "save: a failed sync is no error",
        "csrc/file.c",
        SYNC_OF_FILE + RENAME,
        "if (sync) { (void)mxio_os_sync(file->fd); }\n" + RENAME,
        (FAILING,),
    ),
    Bug(
        "save: a sync that failed is tried again",
        "csrc/os_posix.c",
        "    while (fsync(fd) != 0) {\n        if (errno != EINTR) {",
        "    int tries = 0;\n    while (fsync(fd) != 0) {\n"
        "        if (errno != EINTR && tries++) {",
        (FAILING,),
    ),
    Bug(
        "save: a failed write is no error",
        "csrc/file.c",
        "failed = write_one(file->fd, mem, nbytes, offset);\n    if (failed != 0) {",
        "failed = write_one(file->fd, mem, nbytes, offset);\n    if (0) {",
        (FAILING,),
    ),
    Bug(
        "save: what a commit says is not heard",
        "mxio/_core.pyx",
        "status = mxio_file_commit(self._file, sync, &err)\n"
        "            check(status, &err, self.name)",
        "status = mxio_file_commit(self._file, sync, &err)",
        (FAILING,),
    ),
    Bug(
        "save: the temporary stays",
        "csrc/file.c",
        "mxio_os_unlink(&file->place, file->temporary);",
        ";",
        (FAILING,),
    ),
    Bug(
        "save: the temporary may be somebody's file",
        "csrc/os_posix.c",
        "O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,\n"
        "                      first_mode(like));\n        failed",
        "O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,\n"
        "                      first_mode(like));\n        failed",
        (SAVE + "a_temporary_name_that_is_taken_is_left_alone",),
    ),
    Bug(
        "save: new files for their owner alone",
        "csrc/os_posix.c",
        "O_EXCL | O_NOFOLLOW | O_CLOEXEC,\n"
        "                      first_mode(like));\n        failed",
        "O_EXCL | O_NOFOLLOW | O_CLOEXEC,\n                      0600);\n        failed",
        (MODE,),
    ),
    Bug(
        "save: the mode of the old file is lost",
        "csrc/os_posix.c",
        "int failed = like == NULL ? 0 : take_on(made, like);",
        "int failed = 0;",
        (MODE,),
    ),
    Bug(
        "write: what a signal interrupts is an error",
        "csrc/os_posix.c",
        "ssize_t n = pwrite(fd, p + done, want, (off_t)(offset + done));\n"
        "        if (n < 0 && errno == EINTR) {",
        "ssize_t n = pwrite(fd, p + done, want, (off_t)(offset + done));\n        if (0) {",
        (SAVE + "short_and_interrupted_writes_are_continued",),
    ),
    Bug(
        "write: a short one is taken for all",
        "csrc/os_posix.c",
        "            return EIO; /* POSIX leaves it open; never loop on it */\n"
        "        }\n"
        "        done += (uint64_t)n;",
        "            return EIO;\n        }\n        done += want;",
        (SAVE + "short_and_interrupted_writes_are_continued",),
    ),
    Bug(
        "read: a short one is taken for all",
        "csrc/os_posix.c",
        "            break;\n        }\n        done += (uint64_t)n;",
        "            break;\n        }\n        done += want;",
        (f"{FAULTS}[load-calls]",),
    ),
    Bug(
        "read: what a signal interrupts is an error",
        "csrc/os_posix.c",
        "ssize_t n = pread(fd, p + done, want, (off_t)(offset + done));\n"
        "        if (n < 0 && errno == EINTR) {",
        "ssize_t n = pread(fd, p + done, want, (off_t)(offset + done));\n        if (0) {",
        (f"{FAULTS}[load-calls]",),
    ),
    # ---- appending
    Bug(
        "commit: no sync before the head is switched",
        "csrc/file.c",
        '"written");\n    }\n    if (sync) {',
        '"written");\n    }\n    if (0) {',
        (APPEND_CUT,),
    ),
    Bug(
        "commit: no sync after the head is switched",
        "csrc/file.c",
        "slot ? MXIO_SLOT_1_OFFSET : 0, err));\n    if (sync) {",
        "slot ? MXIO_SLOT_1_OFFSET : 0, err));\n    if (0) {",
        (APPEND_CUT,),
    ),
    Bug(
        "commit: a failed sync of the head is no error",
        "csrc/file.c",
        'return fail_io(err, failed, "cannot sync its head to the disk");',
        ";",
        (APPEND_FAILING,),
    ),
    Bug(
        "commit: the slot in use is written over",
        "mxio/_generations.py",
        "slot = 1 - self._slot",
        "slot = self._slot",
        (WRITER + "a_commit_leaves_the_slot_of_the_one_before_as_it_is",),
    ),
    Bug(
        "writer: committed bytes are written over",
        "mxio/_growing.py",
        "if not all(run.fresh for run in self._runs):",
        "if False:",
        (APPEND + "readers_keep_what_they_opened_whatever_the_writer_does",),
    ),
    Bug(
        "writer: folded without the newest delta",
        "mxio/_generations.py",
        "            data = _core.merge_indexes(levels.pop()",
        "            if len(levels) > 1:\n                levels.pop()\n"
        "            data = _core.merge_indexes(levels.pop()",
        (WRITER + "a_file_holds_what_was_written_to_it",),
    ),
    Bug(
        "writer: what waits is the caller's memory",
        "mxio/_writer.py",
        '_Pending(host.copy(order="K"), dtype)',
        "_Pending(host, dtype)",
        (WRITER + "a_file_holds_what_was_written_to_it",),
    ),
    Bug(
        "writer: two at once",
        "csrc/os_posix.c",
        "return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK\n"
        "               ? EAGAIN : 0;",
        "return 0;",
        ("tests/test_writer_threads.py::test_a_second_writer_is_told_of_the_first",),
    ),
    Bug(
        "compact: nothing is compared",
        "mxio/_copy.py",
        "with Reader(source, threads=threads, encoding=encoding) as reader:\n"
        "        tree = _selected",
        "with Reader(source, threads=threads, encoding=encoding, verify=False) as reader:\n"
        "        tree = _selected",
        ("tests/test_copy.py::test_a_damaged_file_is_not_compacted",),
    ),
    # ---- damage is found
    Bug(
        "checksums: not of a last, shorter chunk",
        "csrc/engine.c",
        "if (mxio_crc32c(0, p + at, (size_t)n) != s->checksums[chunk++]) {",
        "if (mxio_crc32c(0, p + at, (size_t)n) != s->checksums[chunk++]\n"
        "            && n == s->chunk_nbytes) {",
        (CHUNK,),
    ),
    Bug(
        "checksums: compared with those of other chunks",
        "csrc/engine.c",
        "uint64_t chunk = start / s->chunk_nbytes;\n    if (j->flags & MXIO_ZEROS) {",
        "uint64_t chunk = 0;\n    if (j->flags & MXIO_ZEROS) {",
        (ROUND + "any_number_of_threads_writes_the_same_bytes",),
    ),
    Bug(
        "checksums: an error of a thread is dropped",
        "csrc/engine.c",
        "if (status != MXIO_OK) {\n            take(j->lock);",
        "if (status != MXIO_OK && j->lock == NULL) {\n            take(j->lock);",
        (f"{FAULTS}[load large-calls]",),
    ),
    Bug(
        "threads: not waited for",
        "csrc/engine.c",
        "mxio_os_thread_join(started[--n_started]);",
        "--n_started;",
        (f"{FAULTS}[load large-calls]",),
    ),
    Bug(
        "index: its crc is not compared",
        "csrc/index.c",
        "if (mxio_crc32c(0, bytes, (size_t)head->index_nbytes) != head->index_crc) {",
        "if (0) {",
        (CORRUPT + "every_flipped_bit_is_refused_or_harmless_and_found",),
    ),
    Bug(
        "head: the crc of a slot is not compared",
        "csrc/head.c",
        "&& load_u32(slot + 124) == mxio_crc32c(0, slot, 124);",
        ";",
        (CORRUPT + "every_flipped_bit_is_refused_or_harmless_and_found",),
    ),
    Bug(
        "head: the older slot counts",
        "csrc/head.c",
        "taken = second > first;",
        "taken = second < first;",
        (DELTA + "mxio_reads_what_a_file_was_meant_to_hold",),
    ),
    Bug(
        "head: the index may reach beyond the file",
        "csrc/head.c",
        "|| !add_u64(head.index_offset, head.index_nbytes, &end)\n"
        "        || end > head.file_nbytes",
        "",
        (REFUSED, HOSTILE),
    ),
    Bug(
        "index: padding of it may be anything",
        "csrc/index.c",
        "|| !all_zero(gap, index->s.offset[s] - at)",
        "",
        (REFUSED,),
    ),
    Bug(
        "file: padding of it may be anything",
        "csrc/engine.c",
        "if (!all_zero(p, nbytes)) {",
        "if (0) {",
        (CORRUPT + "every_flipped_bit_is_refused_or_harmless_and_found",),
    ),
    Bug(
        "index: entries may overlap in a file that was appended to",
        "csrc/index.c",
        "(may_have_gaps(index) ? e->offset < aligned",
        "(may_have_gaps(index) ? 0",
        (REFUSED, DELTA + "mxio_refuses_a_broken_file"),
    ),
    Bug(
        "index: data may lie beyond the file",
        "csrc/index.c",
        "if (!add_u64(entry.offset, entry.stored_nbytes, &end)\n"
        "        || end > index->head.file_nbytes) {",
        "if (0) {",
        (f"{REFUSED}[appending_data_end_overflows]",),
    ),
    Bug(
        "index: a product of dims may overflow",
        "csrc/format.c",
        "} else if (!mul_u64(room, shape[i], &room)) {",
        "} else if (room *= shape[i], 0) {",
        (REFUSED, HOSTILE),
    ),
    Bug(
        "index: names may stand twice",
        "csrc/index.c",
        "if (i > 0 && mxio_name_compare(before, before_nbytes, name, nbytes) >= 0) {",
        "if (i > 0 && mxio_name_compare(before, before_nbytes, name, nbytes) > 0) {",
        (REFUSED,),
    ),
    Bug(
        "npz: the crc of a member is not compared",
        "mxio/formats/npz.py",
        "    if crc != member.crc:",
        "    if False:",
        ("tests/test_npz_corrupt.py::test_arrays_with_wrong_contents_are_named",),
    ),
    Bug(
        "npz: members may overlap",
        "mxio/formats/_zip.py",
        "if member.offset < end:",
        "if False:",
        ("tests/test_npz_corrupt.py::test_a_lie_is_told_by_its_offset",),
    ),
    Bug(
        "mxnet: any number of records",
        "csrc/mxnet.c",
        "if (n_records > (s->w.file_nbytes - LIST_NBYTES) / 4) {",
        "if (0) {",
        ("tests/test_mxnet_corrupt.py::test_more_arrays_than_bytes_are_refused_at_once",),
    ),
    Bug(
        "safetensors: holes and overlaps",
        "csrc/safetensors.c",
        "if (tiles[i].begin != at) {",
        "if (0) {",
        ("tests/test_safetensors.py::test_a_bad_header_is_refused",),
    ),
    # ---- the right bytes
    Bug(
        "format: chunks of a row less than fit",
        "csrc/format.c",
        "MXIO_CHUNK_NBYTES / slice * slice);",
        "(MXIO_CHUNK_NBYTES - 1) / slice * slice);",
        ("tests/test_format.py::test_the_reference_reads_what_mxio_saved",),
    ),
    Bug(
        "format: big-endian arrays as they lie",
        "csrc/strided.c",
        "if (w.swap_nbytes > 1) {",
        "if (w.swap_nbytes > 4) {",
        ("tests/test_format.py::test_big_endian_arrays_are_saved_in_little_endian",),
    ),
    Bug(
        "format: Fortran order as if it were C",
        "csrc/arrays.c",
        "            array->lies.order = MXIO_ORDER_F;",
        "            array->lies.order = MXIO_ORDER_C;",
        ("tests/test_format.py::test_the_order_of_an_array_is_kept",),
    ),
    Bug(
        "format: gathered with the last axis first",
        "csrc/strided.c",
        "uint32_t i = s->order == MXIO_ORDER_F ? s->ndim - 1 - k : k;",
        "uint32_t i = k;",
        (LAYOUTS,),
    ),
    Bug(
        "aliases: by address alone",
        "csrc/arrays.c",
        "            || (a->shape[i] != 1\n"
        "                && x->lies.strides[i] != y->lies.strides[i])",
        "",
        (ROUND + "views_that_differ_are_not_the_same_array",),
    ),
    Bug(
        "lazy: a chunk of another array",
        "mxio/_lazy.py",
        "key = entry.number if entry.alias_of is None else entry.alias_of, k",
        "key = 0, k",
        (GATHER + "chunks_that_are_kept_are_those_of_their_array",),
    ),
    Bug(
        "lazy: a chunk more than is wanted",
        "mxio/_lazy.py",
        "first, last = start // size, -(-stop // size)",
        "first, last = start // size, min(stop // size + 1, -(-self._entry.nbytes // size))",
        (LAZY + "only_the_chunks_that_hold_the_region_are_read",),
    ),
    Bug(
        "gather: not sorted",
        "mxio/_gather.py",
        'np.arange(len(offsets)) if ascending else np.argsort(offsets, kind="stable")',
        "np.arange(len(offsets))",
        (GATHER + "any_index_with_arrays_of_a_large_array_gives_what_numpy_gives",),
    ),
    # ---- checkpoints
    Bug(
        "checkpoint: not synced",
        "mxio/_snapshot.py",
        "file.commit(True)",
        "file.commit(False)",
        (CUT_STEPS,),
    ),
    Bug(
        "checkpoint: older steps go before the new one is there",
        "mxio/checkpoint.py",
        "                began = time.monotonic()\n                with shown(",
        "                began = time.monotonic()\n"
        "                self._written.append(step)\n"
        "                self._remove(sorted({*self.steps(), step}), {step})\n"
        "                with shown(",
        (STEP + "nothing_is_removed_by_a_save_that_failed",),
    ),
    Bug(
        "checkpoint: a step that was just saved may go",
        "mxio/checkpoint.py",
        "            self._written = [old for old in (*self._written, step) if old in there]\n"
        "            if step in there:  # else somebody removed it, and nothing is known "
        "to be better\n"
        "                self._remove(steps, {step})",
        "            self._remove(steps, set())",
        (STEP + "a_step_that_was_just_saved_stays_though_higher_ones_are_there",),
    ),
    Bug(
        "checkpoint: the worst stay",
        "mxio/_retention.py",
        "return [-step for _, step in sorted(found)]",
        "return [-step for _, step in sorted(found, reverse=True)]",
        (STEP + "the_last_the_multiples_and_the_best_stay",),
    ),
    Bug(
        "checkpoint: a damaged step ends the run",
        "mxio/checkpoint.py",
        "                self._damaged.add(newest)\n                continue",
        "                self._damaged.add(newest)\n                raise",
        (STEP + "restore_passes_over_what_is_damaged_says_so_and_leaves_it_there",),
    ),
    Bug(
        "checkpoint: a snapshot is the caller's memory",
        "mxio/checkpoint.py",
        "        if snapshot:\n",
        "        if not snapshot:\n",
        (ASYNC + "large_arrays_changed_while_they_are_written",),
    ),
    Bug(
        "checkpoint: an error in the background is dropped",
        "mxio/_saving.py",
        "                self.error = error\n",
        "",
        (ASYNC + "an_error_is_raised_once_by_the_next_call",),
    ),
    Bug(
        "checkpoint: two managers at once",
        "mxio/_steps.py",
        "                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "            except BlockingIOError:\n"
        "                holder",
        "                pass\n            except BlockingIOError:\n                holder",
        (STEP + "a_second_manager_is_refused_until_the_first_is_closed_or_gone",),
    ),
    Bug(
        "checkpoint: names of folders are synced by who made them only",
        "mxio/_steps.py",
        "        if not self.found():  # whoever",
        "        if missing:  # whoever",
        (ONCE_MORE + "[manager, stubborn]",),
    ),
    Bug(
        "checkpoint: a living process's temporary goes",
        "mxio/_steps.py",
        "        except BlockingIOError:\n            return False\n        except OSError:",
        "        except BlockingIOError:\n            return True\n        except OSError:",
        (STEP + "temporary_files_of_dead_processes_go_and_those_of_living_ones_stay",),
    ),
    Bug(
        "checkpoint: a dead process's temporary stays",
        "mxio/_steps.py",
        "return age >= _OLD or not _lives(process)",
        "return age >= _OLD",
        (STEP + "temporary_files_of_dead_processes_go_and_those_of_living_ones_stay",),
    ),
)
