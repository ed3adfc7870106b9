/** The browser client of immortus-channels: `immortus.js` sets the global `Immortus`. */

declare var Immortus: Immortus.Client;

declare namespace Immortus {
  type State = "enqueued" | "running" | "retrying" | "finished" | "failed" | "cancelled" | "lost";
  type Transport = "websocket" | "polling" | "connecting" | "idle";

  /** A job as the server tells it. A custom verify need only have `completed`. */
  interface JobDocument {
    readonly job_id: string;
    readonly job_class: string;
    readonly state: State;
    readonly completed: boolean;
    readonly version: number;
    readonly attempt: number;
    readonly current: number;
    readonly total: number | null;
    readonly percentage: number | null;
    readonly message: string;
    readonly error: { readonly code: string; readonly message: string } | null;
    readonly result: unknown;
    readonly cancel_requested: boolean;
    readonly stalled: boolean;
    readonly enqueued_at: string | null;
    readonly started_at: string | null;
    readonly finished_at: string | null;
    /** The job's meta. */
    readonly [key: string]: unknown;
  }

  /** Which job: what `create` resolves with, or a part of it. */
  interface JobInfo {
    /** Text, or a safe integer. */
    job_id?: string | number;
    job_class?: string;
    /** An address of the page's own that answers a JSON object with `completed`; it is polled, and the other two are not used. */
    verify_job_url?: string;
    [key: string]: unknown;
  }

  interface Options {
    /** `interval`: milliseconds from an answer to the next request, at least; above 0. @default 500 */
    polling?: { interval?: number };
    /** @default "auto" */
    transport?: "auto" | "websocket" | "polling";
    /** Its abort is like `stop()`, whatever its reason. */
    signal?: AbortSignal;
  }

  interface Settings {
    /** Where the urls are mounted. @default "/immortus/" */
    prefix?: string;
    /** The path or address of the socket; null or false: polling only. @default "/ws/immortus/" */
    websocket?: string | false | null;
    csrfToken?: string;
    /**
     * For a page without a session: an access token, or what gets one. It is called with the ids of the jobs that the page
     * follows, again when the token has expired or the page follows others. A string is refreshed at the server.
     */
    token?: string | ((jobIds: string[]) => string | Promise<string>) | null;
  }

  type FormSource = Record<string, unknown> | FormData | URLSearchParams | HTMLFormElement | undefined;

  /** Carries the keys of the document, or `job_id` and `error`; `message` is that of the error. */
  interface JobError extends Error {
    readonly job_id: string | null;
    readonly error: { readonly code: string; readonly message: string };
    readonly document: Record<string, unknown>;
    readonly [key: string]: unknown;
  }

  interface CreateError extends Error {
    /** Of the HTTP answer; 0 when there was none. */
    readonly status: number;
    /** Of the HTTP answer: its JSON, or its text when it was none. */
    readonly body: any;
  }

  /**
   * A promise that reports progress and can be stopped. After `stop()` it rejects with an AbortError, or with the reason of
   * the signal that aborted, which the page need not handle. Code that awaits it, and the second of exactly two handlers of
   * `then`, get that error; a `then` with one handler or with three calls none of them any more.
   */
  interface Verification<T> extends PromiseLike<T> {
    then<A = T, B = never>(
      done?: ((document: T) => A | PromiseLike<A>) | null,
      failed?: ((error: JobError) => B | PromiseLike<B>) | null,
      progress?: ((document: JobDocument) => void) | null,
    ): Verification<A | B>;
    catch<B = never>(failed?: ((error: any) => B | PromiseLike<B>) | null): Verification<T | B>;
    finally(settled?: (() => void) | null): Verification<T>;
    stop(): void;
  }

  /**
   * A promise of a job. A failure that the second handler of `then` has received skips the later steps of the chain, and the
   * browser does not report it as unhandled; code that awaits the promise gets what that handler returned.
   */
  interface Creation<T> extends PromiseLike<T> {
    then<A = T, B = never>(
      created?: ((job: T) => A | PromiseLike<A>) | null,
      failed?: ((error: CreateError) => B | PromiseLike<B>) | null,
    ): Creation<A | Exclude<B, void>>;
    catch<B = never>(failed?: ((error: any) => B | PromiseLike<B>) | null): Creation<T | B>;
    finally(settled?: (() => void) | null): Creation<T>;
  }

  interface Client {
    /** Throws a TypeError that names a setting that is mistyped. */
    configure(settings: Settings): void;
    create(url: string, data?: FormSource): Creation<JobInfo & { job_id: string }>;
    /** Throws a TypeError that names an option that is mistyped; so does `watch`. */
    verify(job: JobInfo | string | number, options?: Options): Verification<JobDocument>;
    watch(job: JobInfo | string | number, options?: Options): AsyncIterableIterator<JobDocument>;
    cancel(job: JobInfo | string | number): Promise<JobDocument>;
  }
}
