/// <reference path="./immortus.d.ts" />
/** The browser client of immortus-channels as an ES module: `immortus.module.js`. */

declare const client: Immortus.Client;
export default client;

export declare const cancel: Immortus.Client["cancel"];
export declare const configure: Immortus.Client["configure"];
export declare const create: Immortus.Client["create"];
export declare const verify: Immortus.Client["verify"];
export declare const watch: Immortus.Client["watch"];

export type Client = Immortus.Client;
export type CreateError = Immortus.CreateError;
export type Creation<T> = Immortus.Creation<T>;
export type FormSource = Immortus.FormSource;
export type JobDocument = Immortus.JobDocument;
export type JobError = Immortus.JobError;
export type JobInfo = Immortus.JobInfo;
export type Options = Immortus.Options;
export type Settings = Immortus.Settings;
export type State = Immortus.State;
export type Transport = Immortus.Transport;
export type Verification<T> = Immortus.Verification<T>;
