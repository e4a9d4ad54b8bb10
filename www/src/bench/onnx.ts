/** ONNX models of one operation, made while running. */
import protobuf from "protobufjs";
import schema from "./onnx.proto?raw";

/** A tensor of floats, or of bytes. */
export interface Values {
  readonly dims: readonly number[];
  readonly data: Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
}

/** An operation with everything that it reads. */
export interface SingleOperation {
  readonly op: string;
  /** ONNX's own operations have none. */
  readonly domain?: "com.microsoft";
  readonly attributes?: Readonly<Record<string, number | readonly number[]>>;
  /** What is fed, in order; floats. */
  readonly inputs: Readonly<Record<string, Values>>;
  /** What is in the model, after the inputs. */
  readonly weights: Readonly<Record<string, Values>>;
  /** Extents of the output, floats. */
  readonly output: readonly number[];
}

/** Name of the output of every such model. */
export const OUTPUT = "output";

const IR_VERSION = 9;
const OPSET = 20;

const root = protobuf.parse(schema, { keepCase: true }).root;
const Model = root.lookupType("onnx.ModelProto");
const { FLOAT, UINT8 } = root.lookupEnum("onnx.TensorProto.DataType").values;
const { INT, INTS } = root.lookupEnum("onnx.AttributeProto.AttributeType").values;

/** The bytes of an `.onnx` file. */
export function onnxModel(operation: SingleOperation): Uint8Array {
  const { op, domain, attributes = {}, inputs, weights, output } = operation;
  const model = Model.create({
    ir_version: IR_VERSION,
    opset_import: [{ domain: "", version: OPSET }, ...(domain ? [{ domain, version: 1 }] : [])],
    graph: {
      name: op,
      node: [
        {
          op_type: op,
          domain: domain ?? "",
          input: [...Object.keys(inputs), ...Object.keys(weights)],
          output: [OUTPUT],
          attribute: Object.entries(attributes).map(([name, value]) =>
            typeof value === "number" ? { name, type: INT, i: value } : { name, type: INTS, ints: value },
          ),
        },
      ],
      initializer: Object.entries(weights).map(([name, { dims, data }]) => ({
        name,
        dims,
        data_type: data instanceof Float32Array ? FLOAT : UINT8,
        raw_data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      })),
      input: Object.entries(inputs).map(([name, { dims }]) => floats(name, dims)),
      output: [floats(OUTPUT, output)],
    },
  });
  return Model.encode(model).finish();
}

function floats(name: string, dims: readonly number[]): object {
  const dim = dims.map((size) => ({ dim_value: size }));
  return { name, type: { tensor_type: { elem_type: FLOAT, shape: { dim } } } };
}
