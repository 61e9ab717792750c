"""Calls of names in machine-learning packages that run code, build a library, or read a second stage."""

from .case import P4, Case, apply, call, stack_global, u

NAMES = """torch.utils.collect_env:run torch.utils._config_module:ConfigModule.load_config torch._dynamo.guards:GuardBuilder.get
torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression torch.jit.unsupported_tensor_ops:execWrapper
torch._inductor.codecache:compile_file torch._inductor.runtime.compile_tasks:_reload_python_module torch.utils.bottleneck.__main__:run_cprofile
torch.utils.bottleneck.__main__:run_autograd_prof torch._ops:_Ops.load_library torch:load torch.hub:load torch.hub:download_url_to_file
torch.jit:load torch.package:PackageImporter torch.utils.cpp_extension:load_inline torch.utils.data.datapipes.utils.decoder:basichandlers
torch.distributed.rpc:rpc_sync torch.utils._import_utils:dill_available numpy.f2py.crackfortran:getlincoef numpy.f2py.crackfortran:myeval
numpy.f2py.crackfortran:_eval_length numpy.f2py.diagnose:run_command numpy.testing._private.utils:runstring numpy.testing:rundocs
numpy.distutils.exec_command:exec_command numpy:load numpy:fromfile numpy:memmap numpy:savetxt numpy.ctypeslib:load_library
pandas:eval pandas:read_pickle pandas:read_csv pandas.core.computation.eval:eval pandas.io.clipboard:init_osx_pbcopy_clipboard
joblib:load joblib.numpy_pickle:load joblib.externals.loky.backend.spawn:prepare scipy.io:loadmat scipy._lib._uarray:set_state
sklearn.utils._testing:check_skip_network sklearn.utils._testing:raises sklearn.datasets:fetch_openml sklearn.datasets._base:load_files skops.io:load xgboost.core:_load_lib
lightgbm.libpath:find_lib_path mlflow.projects.backend.local:_run_entry_point mlflow.pyfunc:load_model keras.saving:load_model
keras.utils:get_file tensorflow:load_library tensorflow.keras.models:load_model transformers:AutoModel.from_pretrained datasets:load_dataset
huggingface_hub:hf_hub_download onnxruntime:InferenceSession ray.cloudpickle:loads cloudpickle:loads dill:load dill._dill:_create_function
cloudpickle.cloudpickle:subimport nltk:download nltk.app:chartparser asteval:Interpreter numexpr:evaluate sympy:sympify gradio:load
unknown_package_q.core:Model""".split()


CODE = u("import os\nos.system('true')")
NORM = stack_global("scipy.stats._continuous_distns", "norm_gen")
TABLE = stack_global("statsmodels.base.data", "PandasData")
# Classes that models really hold, but that run a text of their state when it is set.
STATES = {
    "distribution-template": P4 + NORM + b")\x81}" + u("_parse_arg_template") + CODE + b"sb.",
    "distribution-template-old": P4 + stack_global("copyreg", "_reconstructor") + NORM + stack_global("builtins", "object") + b"N\x87R}" + u("_parse_arg_template") + CODE + b"sb.",
    "distribution-template-first": P4 + NORM + b")\x81}" + u("_parse_arg_template") + CODE + b"sb}" + u("_parse_arg_template") + u("") + b"sb.",
    "distribution-template-calls": P4 + NORM + b")\x81}" + u("_parse_arg_template") + u("def _parse_args(self, a=print()):\n    return (), 0, 1\n") + b"sb.",
    "formula": P4 + TABLE + b")\x81}(" + u("restore_design_info") + b"\x88" + u("formula") + u("y ~ __import__('os').system('true')") + b"ub.",
    "formula-call": P4 + TABLE + b")\x81}" + u("formula") + u("y ~ eval(x)") + b"sb.",
    "formula-attribute": P4 + TABLE + b")\x81}" + u("formula") + u("y ~ np.f2py.crackfortran.myeval(x)") + b"sb.",
}  # fmt: skip


def cases() -> list[Case]:
    made = [Case("gadget-ml", f"state-{n}", f"state-{n}.pkl", d) for n, d in STATES.items()]
    for text in NAMES:
        module, _, name = text.partition(":")
        made.append(Case("gadget-ml", text, text.replace(":", ".") + ".pkl", call(module, name, "true")))
    second = {
        "joblib": call("joblib", "load", "/nonexistent/second.joblib"),
        "numpy": call("numpy", "load", "second.npy", b"N", b"\x88"),
        "torch": P4 + apply("torch", "load", "second.pt") + u("a") + b"b.",
        "pandas": call("pandas", "read_pickle", "http://localhost:9/none"),
    }
    return made + [Case("gadget-ml", f"second-stage-{n}", f"second-stage-{n}.pkl", d) for n, d in second.items()]
