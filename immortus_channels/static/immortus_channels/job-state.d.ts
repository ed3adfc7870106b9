/// <reference path="./immortus.d.ts" />
/** Jobs by their ids, told to callbacks: `job-state.js` sets the global `JobState`. */

declare var JobState: JobState.Client;

declare namespace JobState {
  /** The job's document; what the job set with `set_progress_metric` is at its top level, numbers as numbers. */
  interface Working extends Immortus.JobDocument {
    readonly job_state: "working";
  }

  interface Replayable {
    /**
     * This tab was told of this end before, on a page that it has left or reloaded since: the present page was rendered
     * after the end and need not be reloaded. The first page that is told of an end finds false here, even when the job
     * was over before the page asked, because nobody knows what that page was rendered with. To be asked by a callback that
     * leaves the page more than a second after it was called.
     */
    readonly replayed: boolean;
  }

  interface Success extends Immortus.JobDocument, Replayable {
    readonly job_state: "success";
  }

  /** Of a job that failed, was cancelled or is lost, its document; of one that cannot be told of, these keys alone. */
  interface Failure extends Replayable {
    readonly job_state: "error";
    readonly job_id: string | null;
    readonly error: { readonly code: string; readonly message: string };
    readonly [key: string]: unknown;
  }

  interface Options {
    jobUuid: string | number;
    /** Milliseconds from an answer to the next request, where the job has to be polled. @default 1000 */
    pollingPeriod?: number;
    /** Called with each newer state of a job that is not over. */
    update?: (data: Working) => void;
    /**
     * Called once, when the job has finished; also at once, when it had before. Not called in a page that came back from
     * leaving itself within a second after it, by `location.reload()` and the like.
     */
    success?: (data: Success) => void;
    /**
     * Called once, when the job failed, was cancelled or is lost, is unknown or expired, the login is over, or the server
     * answers with an error that does not pass. `data.error.code` tells which. With the same exception as `success`.
     */
    error?: (data: Failure) => void;
  }

  interface Handle {
    /** No callback is called any more. */
    stop(): void;
  }

  interface Client {
    /** Throws a TypeError that names an option that is mistyped. */
    startPolling(options: Options): Handle;
    killJob(jobUuid: string | number): Promise<Immortus.JobDocument>;
  }
}
